"""Aggregate results: one row a run, as CSV and Parquet, with Markdown tables.

    python -m scripts.aggregate_results --results-dir results \
        --output benchmark_summary.md --csv benchmark_results.csv

The folder is either one that the workflow wrote, whose batch files say which runs are expected, or
one with result files in the flat JSON form of the benchmarking guide. Runs without a readable
result have a row with `status: missing`; they are named and the exit code is 2.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.lib.runtime.program import add_results_options, new_parser, run_program
from scripts.lib.schema.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from scripts.lib.summary.collecting import Summary


def main(argv: Sequence[str] | None = None) -> int:
    """CLI entry point."""
    parser = new_parser("scripts.aggregate_results", __doc__)
    add_results_options(parser)
    parser.add_argument("--output", help="Markdown file with all tables")
    parser.add_argument("--csv", help="CSV file, one row a run")
    parser.add_argument("--parquet", help="Parquet file with the same rows")
    parser.add_argument("--kinds-dir", help="folder for the summary of each kind, CSV and Parquet")
    parser.add_argument("--overview", help="JSON file: runs by sweep and status, devices")
    return run_program(parser, _execute, argv)


def _execute(arguments: argparse.Namespace) -> dict[str, Any]:
    from scripts.lib.report.overview.tables import overview
    from scripts.lib.results.files import write_text
    from scripts.lib.summary.collecting import missing_in

    summary = _read(Path(arguments.results_dir), arguments.sweeps)
    runs = summary.runs
    _write(runs, arguments.csv, arguments.parquet)
    if arguments.kinds_dir:
        for kind, rows in summary.by_kind.items():
            stem = Path(arguments.kinds_dir, kind)
            _write(rows, f"{stem}.csv", f"{stem}.parquet")
    if arguments.overview:
        counts = overview(runs).to_dict("records")
        write_text(arguments.overview, json.dumps(counts, indent=1) + "\n")
    if arguments.output:
        write_text(arguments.output, _document(summary, arguments))
    if missing := missing_in(runs):
        raise InputError(f"{len(missing)} of {len(runs)} runs are missing:", *missing)
    return {"rows": len(runs), "status": runs["status"].value_counts().to_dict()}


def _read(folder: Path, sweeps: list[str] | None) -> "Summary":
    from scripts.lib.kinds.training.document import ALIASES, read_document_rows
    from scripts.lib.summary.collecting import Summary, batch_files, collect, read_batch

    if not folder.is_dir():
        raise InputError(f"--results-dir {folder}: no such folder")
    if files := batch_files(folder, sweeps):
        return collect([read_batch(file) for file in files], folder)
    rows = read_document_rows(folder)
    if not rows:
        raise InputError(f"--results-dir {folder}: holds neither batches/*/*.json nor *.json files")
    summary = Summary.of_rows(rows)
    runs = summary.runs.assign(**{alias: summary.runs[name] for alias, name in ALIASES.items()})
    return replace(summary, runs=runs)


def _write(rows: "pd.DataFrame", csv: str | None, parquet: str | None) -> None:
    from scripts.lib.results.files import atomic_path

    for path, write in ((csv, rows.to_csv), (parquet, rows.to_parquet)):
        if path:
            with atomic_path(path) as temporary:
                write(temporary, index=False)


def _document(summary: "Summary", arguments: argparse.Namespace) -> str:
    from scripts.lib.presentation.render import markdown
    from scripts.lib.report.registry import tables
    from scripts.lib.report.source import Source

    source = Source(arguments.results_dir, arguments.sweeps, summary)
    parts = ["# Benchmark summary"]
    for presentation, shown in tables().values():
        frame = presentation.table(shown)(source.of(presentation, shown))
        if len(frame):
            parts.append(f"## {shown.title}\n\n{markdown(frame)}")
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
