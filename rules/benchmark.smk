"""Timed transformer steps.

Requires: results/runs/{run}/run.json, a token file, batch_size.json where a run says `auto`.
Yields: results/runs/{run}/benchmark.json
"""


rule benchmark:
    """Time the forward, backward and optimiser parts of one run's step."""
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
        gpu=gpu_of,
    params:
        settings=run_json,
        version=training_result.MEASUREMENT_VERSION,
        batch_size=lambda wildcards, input: (
            ["--batch-size", input.batch_size] if input.batch_size else []
        ),
    shell:
        "python -m scripts.benchmark --run {input.run:q} --tokens {input.tokens:q}"
        " {params.batch_size:q} --output {output:q} &> {log:q}"
