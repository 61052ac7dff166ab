"""Data-parallel runs: the text, and the modes of a run in turns on its ranks.

Requires: results/runs/{run}/run.json, and batch_size.json where a run says `max_local_batch: auto`.
Yields: results/data/text-{text}/meta.json, results/runs/{run}/ddp.json with the run directories
results/runs/{run}/ddp/{mode}/seed{seed}
"""

from scripts.lib.kinds.ddp.config import text_digest, text_inputs


wildcard_constraints:
    text=r"[0-9a-f]{8}",


@cache
def runs_by_text():
    """The first data-parallel run of each text."""
    return first_runs("ddp", text_digest)


def run_of_text(wildcards):
    if wildcards.text not in runs_by_text():
        sys.exit(f"no run of this configuration has the text {wildcards.text}")
    return runs_by_text()[wildcards.text]


def first_run_of_text(wildcards):
    return ancient(f"results/runs/{run_of_text(wildcards)}/run.json")


def text_files_of(wildcards):
    """The user's files of a text; one that changes is read again."""
    return in_place(text_inputs(settings_of_run(run_of_text(wildcards))))


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
        "{SWEEPMAKE_PYTHON} -m scripts.prepare_text --run {input.run:q} --output {output:q} &> {log:q}"


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
        "{SWEEPMAKE_PYTHON} -m scripts.benchmark_ddp --run {input.run:q} --text {input.text:q}"
        " {params.batch_size:q} --output {output:q} &> {log:q}"
