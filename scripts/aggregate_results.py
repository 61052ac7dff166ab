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
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.lib.runtime.program import add_results_options, new_parser, run_program
from scripts.lib.schema.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    parser = new_parser("scripts.aggregate_results", __doc__)
    add_results_options(parser)
    parser.add_argument("--output", help="Markdown file with all tables")
    parser.add_argument("--csv", help="CSV file, one row a run")
    parser.add_argument("--parquet", help="Parquet file with the same rows")
    parser.add_argument("--kinds-dir", help="folder for the rows of each kind, CSV and Parquet")
    parser.add_argument("--overview", help="JSON file: runs by sweep and status, devices")
    return run_program(parser, _execute, argv)


def _execute(arguments: argparse.Namespace) -> dict[str, Any]:
    from scripts.lib.report.overview.tables import overview
    from scripts.lib.results.files import atomic_path, write_text
    from scripts.lib.summary.collecting import by_kind, missing_in

    summary = _read(Path(arguments.results_dir), arguments.sweeps)
    counts = overview(summary)
    if arguments.csv:
        with atomic_path(arguments.csv) as temporary:
            summary.to_csv(temporary, index=False)
    if arguments.parquet:
        with atomic_path(arguments.parquet) as temporary:
            summary.to_parquet(temporary, index=False)
    if arguments.kinds_dir:
        for kind, rows in by_kind(summary):
            for suffix, write in (("csv", rows.to_csv), ("parquet", rows.to_parquet)):
                with atomic_path(Path(arguments.kinds_dir, f"{kind}.{suffix}")) as temporary:
                    write(temporary, index=False)
    if arguments.overview:
        write_text(arguments.overview, json.dumps(counts.to_dict("records"), indent=1) + "\n")
    if arguments.output:
        folder = Path(arguments.results_dir)
        write_text(arguments.output, _document(summary, folder, arguments.sweeps))
    if missing := missing_in(summary):
        raise InputError(f"{len(missing)} of {len(summary)} runs are missing:", *missing)
    return {"rows": len(summary), "status": summary["status"].value_counts().to_dict()}


def _read(folder: Path, sweeps: list[str] | None) -> "pd.DataFrame":
    from scripts.lib.kinds.training.document import read_document_rows
    from scripts.lib.summary.collecting import batch_files, collect, read_batch, table

    if not folder.is_dir():
        raise InputError(f"--results-dir {folder}: no such folder")
    if files := batch_files(folder, sweeps):
        return collect([read_batch(file) for file in files], folder)
    rows = read_document_rows(folder)
    if not rows:
        raise InputError(f"--results-dir {folder}: holds neither batches/*/*.json nor *.json files")
    return table(rows)


def _document(summary: "pd.DataFrame", folder: Path, sweeps: list[str] | None) -> str:
    from scripts.lib.presentation.render import markdown
    from scripts.lib.report.registry import tables
    from scripts.lib.report.source import Source

    source = Source(folder, sweeps, summary)
    parts = ["# Benchmark summary"]
    for presentation, shown in tables().values():
        frame = presentation.table(shown)(source.of(presentation, shown))
        if len(frame):
            parts.append(f"## {shown.title}\n\n{markdown(frame)}")
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
