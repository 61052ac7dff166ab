"""Data-parallel runs: the text, and the modes of a run in turns on its ranks.

Requires: results/runs/{run}/run.json, and batch_size.json where a run says `max_local_batch: auto`.
Yields: results/data/text-{text}/meta.json, results/runs/{run}/ddp.json with the run directories
results/runs/{run}/ddp/{mode}/seed{seed}
"""


include: "lookup/ddp.smk"


wildcard_constraints:
    text=r"[0-9a-f]{8}",


rule prepare_text:
    """Read and tokenise a text, once for all runs that share it."""
    input:
        text_files_of,
        run=first_run_of_text,
    output:
        "results/data/text-{text}/meta.json",
    log:
        "logs/prepare_text/{text}.log",
    localrule: True
    conda:
        "../envs/sweepmake.yaml"
    shell:
        "sweepmake_python -m scripts.prepare_text --run {input.run:q} --output {output:q} &> {log:q}"


rule benchmark_ddp:
    """Train the modes of one run in turns on its ranks, and compare their steps."""
    input:
        run="results/runs/{run}/run.json",
        text=input_data_of,
        files=user_files_of,
        batch_size=batch_size_of,
    output:
        ensure("results/runs/{run}/ddp.json", non_empty=True),
    log:
        "logs/benchmark_ddp/{run}.log",
    conda:
        "../envs/sweepmake.yaml"
    threads: threads_of
    resources:
        **PLACEMENT,
        gpu=gpu_of,
    params:
        settings=run_json,
        version=measurement_version,
        batch_size=batch_size_option,
    shell:
        "sweepmake_python -m scripts.benchmark_ddp --run {input.run:q} --text {input.text:q}"
        " {params.batch_size:q} --output {output:q} &> {log:q}"
