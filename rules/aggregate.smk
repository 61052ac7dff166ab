"""From results to the summary, tables and figures.

Requires: the results of the runs.
Yields: results/batches/{sweep}/{batch}.csv, results/summary.csv, results/summary/{kind}.csv,
results/tables, results/figures
"""


onerror:
    if workflow.is_main_process and SWEEPS.selected is None:
        # Failed jobs appear as `missing` rows; the workflow still exits non-zero.
        write_batch_files()
        shell(
            "sweepmake_python -m scripts.aggregate_results --results-dir results"
            " --sweeps {sweeps} --csv results/summary.csv --parquet results/summary.parquet"
            " --kinds-dir results/summary --overview results/overview.json"
            " > logs/onerror.log 2>&1 || true",
            sweeps=shlex.join(batch_counts()),
        )


rule collect_batch:
    """Collect one batch: one row per run, none missing."""
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
    params:
        results=results_folder,
    shell:
        "sweepmake_python -m scripts.collect_batch --batch {input.batch:q} --results-dir {params.results:q}"
        " --output {output:q} &> {log:q}"


rule aggregate_results:
    """One row per run over all sweeps, the summaries of the kinds, and what ran on what."""
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
        kinds=expand("results/summary/{kind}.{suffix}", kind=kinds(), suffix=["csv", "parquet"]),
    log:
        "logs/aggregate_results.log",
    localrule: True
    conda:
        "../envs/sweepmake.yaml"
    params:
        results=results_folder,
        sweeps=batch_counts,
    shell:
        "sweepmake_python -m scripts.aggregate_results --results-dir {params.results:q} --sweeps {params.sweeps:q}"
        " --csv {output.csv:q} --parquet {output.parquet:q} --kinds-dir {params.results:q}/summary"
        " --overview {output.overview:q} &> {log:q}"


for presentation in presentations():

    if presentation.tables:

        rule:
            name:
                f"tabulate_results_{presentation.name}"
            input:
                "results/summary.parquet",
            output:
                [
                    shown_in_report("tables", "html", presentation, shown)
                    for shown in presentation.tables
                ],
                [f"results/tables/{shown.name}.md" for shown in presentation.tables],
            log:
                f"logs/tabulate_results/{presentation.name}.log",
            localrule: True
            conda:
                "../envs/sweepmake.yaml"
            params:
                results=results_folder,
                names=[shown.name for shown in presentation.tables],
                sweeps=batch_counts,
                version=PRESENTATION_VERSION,
            shell:
                "sweepmake_python -m scripts.tabulate_results --results-dir {params.results:q}"
                " --sweeps {params.sweeps:q} --tables {params.names:q}"
                " --output-dir {params.results:q}/tables &> {log:q}"

    if presentation.figures:

        rule:
            name:
                f"plot_results_{presentation.name}"
            input:
                "results/summary.parquet",
            output:
                [
                    shown_in_report("figures", "svg", presentation, shown)
                    for shown in presentation.figures
                ],
                [f"results/figures/{shown.name}.png" for shown in presentation.figures],
            log:
                f"logs/plot_results/{presentation.name}.log",
            localrule: True
            conda:
                "../envs/sweepmake.yaml"
            params:
                results=results_folder,
                names=[shown.name for shown in presentation.figures],
                sweeps=batch_counts,
                version=PRESENTATION_VERSION,
            shell:
                "sweepmake_python -m scripts.plot_results --results-dir {params.results:q}"
                " --sweeps {params.sweeps:q} --figures {params.names:q}"
                " --output-dir {params.results:q}/figures &> {log:q}"
