"""What a call is to make: results, tables, figures; no rules."""

import json
import re
from pathlib import Path

from scripts.lib.report.registry import presented

# Functions that return further files of a whole sweep; a kind's rule file adds its own.
EXPORTS = []
# Raised when tables or figures change, so that they are made again.
PRESENTATION_VERSION = 7


def tables_of_batches(wildcards):
    return [
        f"results/batches/{sweep}/{batch}.csv"
        for sweep in SWEEPS.sweeps
        for batch in SWEEPS.selected_batches(sweep)
    ]


def targets(wildcards):
    """Everything, or the batches that the call is restricted to.

    The results themselves are among the targets, so that a deleted one is made again.
    """
    if SWEEPS.selected is not None:
        return tables_of_batches(wildcards)
    shown = [path for presentation in presentations() for path in shown_files(presentation)]
    return [*map(result_of_run, SWEEPS.runs), "results/summary.csv", *shown, *exports()]


def kinds():
    """Names of the kinds of this configuration, in the registry's order."""
    return [kind for kind in KINDS if any(run.kind == kind for run in SWEEPS.runs.values())]


def exports():
    """Files in the forms of other tools, which kinds add in their rule files."""
    return [path for export in EXPORTS for path in export()]


@cache
def presentations():
    """The tables and figures that apply to the runs of this configuration."""
    return list(presented([settings_of_run(run) for run in SWEEPS.runs]))


def shown_files(presentation):
    """Files of the tables and figures of a presentation."""
    tables = [shown.name for shown in presentation.tables]
    figures = [shown.name for shown in presentation.figures]
    return expand("results/tables/{name}.{suffix}", name=tables, suffix=["html", "md"]) + expand(
        "results/figures/{name}.{suffix}", name=figures, suffix=["svg", "png"]
    )


def shown_in_report(folder, suffix, presentation, shown):
    """The file of a table or figure, with its place in the report."""
    noun = {"tables": "Table", "figures": "Figure"}[folder]
    return report(
        f"results/{folder}/{shown.name}.{suffix}",
        caption=f"../report/{shown.name}.rst",
        category=presentation.category,
        labels={"result": f"{noun}: {shown.title}"},
    )


def overview_of_results():
    """What was measured on what, for the report's front page; empty before the first summary."""
    try:
        rows = json.loads(Path(RESULTS, "overview.json").read_text())
    except (OSError, ValueError):
        return []
    sweeps = CONFIG.sweeps
    return [
        row | {"description": plain_text(sweeps[row["sweep"]].description)}
        for row in rows
        if row["sweep"] in sweeps
    ]


def plain_text(text):
    """Text that reStructuredText shows as it is."""
    return re.sub(r"([\\*_`|<>:])", r"\\\1", " ".join(text.split()))
