"""The measurement of a run: timed transformer steps, or a served model under load.

Requires: results/runs/{run}/run.json, for training a token file, and batch_size.json where a run
says `auto`; for inference the embedded model where a run names it.
Yields: results/runs/{run}/benchmark.json, for inference with requests.parquet beside it

The points of one server are jobs of their own, so that each is made and counted alone. The first
of them starts the server and measures all that this call wants of it; the others fetch theirs from
results/servers/{server}. On a cluster they are one job of it.
"""


rule benchmark:
    """Measure one run: the parts of its step, or its server under its load."""
    input:
        run="results/runs/{run}/run.json",
        tokens=tokens_of,
        batch_size=batch_size_of,
        embedded=model_of,
        model=model_files_of,
    output:
        ensure("results/runs/{run}/benchmark.json", non_empty=True),
    log:
        "logs/benchmark/{run}.log",
    priority: priority_of
    group:
        server_group
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
            *([f"--embedded-model={input.embedded}"] if input.embedded else []),
            *serving_options(wildcards),
        ],
    shell:
        "python -m scripts.benchmark --run {input.run:q} {params.data:q} --output {output:q}"
        " &> {log:q}"
