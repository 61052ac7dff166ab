"""From results to the summary, tables and figures.

Requires: the results of the runs.
Yields: results/batches/{sweep}/{batch}.csv, results/summary.csv, results/tables, results/figures
"""


onerror:
    if workflow.is_main_process and SWEEPS.selected is None:
        # Runs whose jobs failed stand in the summary as missing; the call fails all the same.
        write_batch_files()
        shell(
            "python -m scripts.aggregate_results --results-dir results"
            " --sweeps {sweeps} --csv results/summary.csv --parquet results/summary.parquet"
            " --overview results/overview.json > logs/onerror.log 2>&1 || true",
            sweeps=shlex.join(batch_counts(None)),
        )


rule collect_batch:
    """Collect one batch: a row a run, none missing."""
    input:
        results_of_batch,
        batch="results/batches/{sweep}/{batch}.json",
    output:
        "results/batches/{sweep}/{batch}.csv",
    log:
        "logs/collect_batch/{sweep}/{batch}.log",
    localrule: True
    conda:
        "../envs/sweepmake.yaml"
    shell:
        "python -m scripts.collect_batch --batch {input.batch:q} --results-dir results"
        " --output {output:q} &> {log:q}"


rule aggregate:
    """One row a run over all sweeps, and what was measured on what."""
    input:
        tables_of_batches,
    output:
        csv=report(
            "results/summary.csv",
            caption="../report/summary.rst",
            category="Overview",
            labels={"result": "File: all rows"},
        ),
        parquet="results/summary.parquet",
        overview="results/overview.json",
    log:
        "logs/aggregate.log",
    localrule: True
    conda:
        "../envs/sweepmake.yaml"
    params:
        sweeps=batch_counts,
    shell:
        "python -m scripts.aggregate_results --results-dir results --sweeps {params.sweeps:q}"
        " --csv {output.csv:q} --parquet {output.parquet:q} --overview {output.overview:q}"
        " &> {log:q}"


rule overview_table:
    """Runs of each sweep by status, and their devices."""
    input:
        "results/summary.parquet",
    output:
        report(
            "results/tables/overview.html",
            caption="../report/overview.rst",
            category="Overview",
            labels={"result": "Table: runs by sweep and status"},
        ),
        "results/tables/overview.md",
    log:
        "logs/tables/overview.log",
    localrule: True
    conda:
        "../envs/sweepmake.yaml"
    params:
        version=PRESENTATION_VERSION,
    shell:
        "python -m scripts.tabulate_results --summary {input:q} --output-dir results/tables"
        " --tables overview &> {log:q}"


rule batch_sizes:
    """Table and figure of the searches for the largest batch."""
    input:
        batch_sizes_of_all,
        batch_files_with_search,
    output:
        report(
            "results/tables/batch_size.html",
            caption="../report/batch_size.rst",
            category="Batch size",
            labels={"result": "Table: largest batch sizes"},
        ),
        report(
            "results/figures/batch_size.svg",
            caption="../report/batch_size_memory.rst",
            category="Batch size",
            labels={"result": "Figure: memory against batch size"},
        ),
        "results/tables/batch_size.md",
        "results/figures/batch_size.png",
    log:
        "logs/batch_sizes.log",
    localrule: True
    conda:
        "../envs/sweepmake.yaml"
    params:
        version=PRESENTATION_VERSION,
        sweeps=batch_counts_with_search,
    shell:
        "python -m scripts.present_batch_sizes --results-dir results --sweeps {params.sweeps:q}"
        " --output-dir results &> {log:q}"


rule training_tables:
    """Tables of training runs."""
    input:
        "results/summary.parquet",
    output:
        report(
            "results/tables/training.html",
            caption="../report/training.rst",
            category="Training",
            labels={"result": "Table: complete results"},
        ),
        report(
            "results/tables/training_by_size.html",
            caption="../report/training_by_size.rst",
            category="Training",
            labels={"result": "Table: by model size"},
        ),
        report(
            "results/tables/training_by_context_length.html",
            caption="../report/training_by_context_length.rst",
            category="Training",
            labels={"result": "Table: by context length"},
        ),
        report(
            "results/tables/training_pivot.html",
            caption="../report/training_pivot.rst",
            category="Training",
            labels={"result": "Table: context length by model size"},
        ),
        expand("results/tables/{name}.md", name=TRAINING_TABLES),
    log:
        "logs/tables/training.log",
    localrule: True
    conda:
        "../envs/sweepmake.yaml"
    params:
        tables=TRAINING_TABLES,
        version=PRESENTATION_VERSION,
    shell:
        "python -m scripts.tabulate_results --summary {input:q} --output-dir results/tables"
        " --tables {params.tables:q} &> {log:q}"


rule training_modes_table:
    """What the backward pass costs, where runs with and without it are compared."""
    input:
        "results/summary.parquet",
    output:
        report(
            "results/tables/training_modes.html",
            caption="../report/training_modes.rst",
            category="Training",
            labels={"result": "Table: forward-only against backward"},
        ),
        "results/tables/training_modes.md",
    log:
        "logs/tables/training_modes.log",
    localrule: True
    conda:
        "../envs/sweepmake.yaml"
    params:
        version=PRESENTATION_VERSION,
    shell:
        "python -m scripts.tabulate_results --summary {input:q} --output-dir results/tables"
        " --tables training_modes &> {log:q}"


rule training_figures:
    """Figures of training runs."""
    input:
        "results/summary.parquet",
    output:
        report(
            "results/figures/training_time.svg",
            caption="../report/training_time.rst",
            category="Training",
            labels={"result": "Figure: time per step"},
        ),
        report(
            "results/figures/training_throughput.svg",
            caption="../report/training_throughput.rst",
            category="Training",
            labels={"result": "Figure: tokens per second"},
        ),
        report(
            "results/figures/training_memory.svg",
            caption="../report/training_memory.rst",
            category="Training",
            labels={"result": "Figure: peak memory"},
        ),
        report(
            "results/figures/training_utilisation.svg",
            caption="../report/training_utilisation.rst",
            category="Training",
            labels={"result": "Figure: FLOPs and their utilisation"},
        ),
        report(
            "results/figures/training_breakdown.svg",
            caption="../report/training_breakdown.rst",
            category="Training",
            labels={"result": "Figure: forward, backward, optimiser"},
        ),
        expand("results/figures/{name}.png", name=TRAINING_FIGURES),
    log:
        "logs/figures/training.log",
    localrule: True
    conda:
        "../envs/sweepmake.yaml"
    params:
        figures=TRAINING_FIGURES,
        version=PRESENTATION_VERSION,
    shell:
        "python -m scripts.plot_results --summary {input:q} --output-dir results/figures"
        " --figures {params.figures:q} &> {log:q}"


rule inference_table:
    """Table of served models: a row a point."""
    input:
        "results/summary.parquet",
    output:
        report(
            "results/tables/inference.html",
            caption="../report/inference.rst",
            category="Inference",
            labels={"result": "Table: served models"},
        ),
        "results/tables/inference.md",
    log:
        "logs/tables/inference.log",
    localrule: True
    conda:
        "../envs/sweepmake.yaml"
    params:
        version=PRESENTATION_VERSION,
    shell:
        "python -m scripts.tabulate_results --summary {input:q} --output-dir results/tables"
        " --tables inference &> {log:q}"


rule inference_figures:
    """Throughput of served models against what a user sees, with the best points of each."""
    input:
        "results/summary.parquet",
    output:
        report(
            "results/figures/inference_interactivity.svg",
            caption="../report/inference_interactivity.rst",
            category="Inference",
            labels={"result": "Figure: throughput against interactivity"},
        ),
        report(
            "results/figures/inference_latency.svg",
            caption="../report/inference_latency.rst",
            category="Inference",
            labels={"result": "Figure: throughput against latency"},
        ),
        expand("results/figures/{name}.png", name=INFERENCE_FIGURES),
    log:
        "logs/figures/inference.log",
    localrule: True
    conda:
        "../envs/sweepmake.yaml"
    params:
        figures=INFERENCE_FIGURES,
        version=PRESENTATION_VERSION,
    shell:
        "python -m scripts.plot_results --summary {input:q} --output-dir results/figures"
        " --figures {params.figures:q} &> {log:q}"
