"""Data-parallel training: text, the modes of a run in turns on its ranks, tables and figures.

Requires: results/runs/{run}/run.json, and batch_size.json where a run says `max_local_batch: auto`.
Yields: results/data/text-{text}/meta.json, results/runs/{run}/ddp.json with the run directories
results/runs/{run}/ddp/{mode}/seed{seed}, results/tables/ddp, results/figures/ddp_*
"""


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
        "python -m scripts.prepare_text --run {input.run:q} --output {output:q} &> {log:q}"


rule train_ddp:
    """Train the modes of one run in turns on its ranks, and compare their steps."""
    input:
        run="results/runs/{run}/run.json",
        text=tokens_of,
        model=model_files_of,
        batch_size=batch_size_of,
    output:
        ensure("results/runs/{run}/ddp.json", non_empty=True),
    log:
        "logs/train_ddp/{run}.log",
    conda:
        "../envs/sweepmake.yaml"
    threads: threads_of
    resources:
        **PLACEMENT,
        gpu=gpu_of,
    params:
        settings=run_json,
        version=measurement_version,
        batch_size=lambda wildcards, input: (
            ["--batch-size", input.batch_size] if input.batch_size else []
        ),
    shell:
        "python -m scripts.benchmark_ddp --run {input.run:q} --text {input.text:q}"
        " {params.batch_size:q} --output {output:q} &> {log:q}"


rule ddp_table:
    """A row for each mode of each data-parallel run."""
    input:
        "results/summary.parquet",
    output:
        report(
            "results/tables/ddp.html",
            caption="../report/ddp.rst",
            category="Data-parallel training",
            labels={"result": "Table: modes compared"},
        ),
        "results/tables/ddp.md",
    log:
        "logs/tables/ddp.log",
    localrule: True
    conda:
        "../envs/sweepmake.yaml"
    params:
        version=PRESENTATION_VERSION,
    shell:
        "python -m scripts.tabulate_results --summary {input:q} --output-dir results/tables"
        " --tables ddp &> {log:q}"


rule ddp_figures:
    """Figures of data-parallel runs, from the samples in their results."""
    input:
        results=ddp_results,
        batches=ddp_batch_files,
    output:
        report(
            "results/figures/ddp_step_time.svg",
            caption="../report/ddp_step_time.rst",
            category="Data-parallel training",
            labels={"result": "Figure: time per step"},
        ),
        report(
            "results/figures/ddp_imbalance.svg",
            caption="../report/ddp_imbalance.rst",
            category="Data-parallel training",
            labels={"result": "Figure: imbalance over the steps"},
        ),
        report(
            "results/figures/ddp_padding.svg",
            caption="../report/ddp_padding.rst",
            category="Data-parallel training",
            labels={"result": "Figure: share of padding"},
        ),
        report(
            "results/figures/ddp_loss.svg",
            caption="../report/ddp_loss.rst",
            category="Data-parallel training",
            labels={"result": "Figure: loss of the modes"},
        ),
        report(
            "results/figures/ddp_wait.svg",
            caption="../report/ddp_wait.rst",
            category="Data-parallel training",
            labels={"result": "Figure: waiting by rank"},
        ),
        report(
            "results/figures/ddp_lengths.svg",
            caption="../report/ddp_lengths.rst",
            category="Data-parallel training",
            labels={"result": "Figure: lengths of the samples"},
        ),
        expand("results/figures/{name}.png", name=DDP_FIGURES),
    log:
        "logs/figures/ddp.log",
    localrule: True
    conda:
        "../envs/sweepmake.yaml"
    params:
        version=PRESENTATION_VERSION,
        sweeps=ddp_batch_counts,
    shell:
        "python -m scripts.present_ddp --results-dir results --sweeps {params.sweeps:q}"
        " --output-dir results/figures &> {log:q}"
