"""The measurement of a run: timed transformer steps.

Requires: results/runs/{run}/run.json, for training a token file, and batch_size.json where a run
says `auto`.
Yields: results/runs/{run}/benchmark.json
"""


rule benchmark:
    """Measure one run: time the forward, backward and optimiser parts of its step."""
    input:
        run="results/runs/{run}/run.json",
        tokens=tokens_of,
        batch_size=batch_size_of,
    output:
        ensure("results/runs/{run}/benchmark.json", non_empty=True),
    log:
        "logs/benchmark/{run}.log",
    conda:
        "../envs/sweepmake.yaml"
    threads: threads_of
    resources:
        **PLACEMENT,
        gpu=gpu_of,
    params:
        settings=run_json,
        version=measurement_version,
        data=lambda wildcards, input: [
            *([f"--tokens={input.tokens}"] if input.tokens else []),
            *(["--batch-size", input.batch_size] if input.batch_size else []),
        ],
    shell:
        "python -m scripts.benchmark --run {input.run:q} {params.data:q} --output {output:q}"
        " &> {log:q}"
