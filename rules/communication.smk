"""Communication runs: collectives and messages between ranks.

Requires: results/runs/{run}/run.json
Yields: results/runs/{run}/communication.json
"""


rule benchmark_communication:
    """Time one operation between the ranks of a run over its message sizes."""
    input:
        run="results/runs/{run}/run.json",
    output:
        ensure("results/runs/{run}/communication.json", non_empty=True),
    log:
        "logs/benchmark_communication/{run}.log",
    conda:
        "../envs/sweepmake.yaml"
    threads: threads_of
    resources:
        **PLACEMENT,
        gpu=gpu_of,
    params:
        settings=run_json,
        version=measurement_version,
    shell:
        "sweepmake_python -m scripts.benchmark_communication --run {input.run:q}"
        " --output {output:q} &> {log:q}"
