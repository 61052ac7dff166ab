"""Collect the results of one batch of runs into a CSV file, one row a run.

    python -m scripts.collect_batch --batch results/batches/NAME/0.json \
        --results-dir results --output results/batches/NAME/0.csv

Fails, and names them, if results are missing or cannot be read.
"""

import argparse
from collections.abc import Sequence
from typing import Any

from scripts.lib.runtime.program import new_parser, run_program
from scripts.lib.schema.errors import InputError


def main(argv: Sequence[str] | None = None) -> int:
    """CLI entry point."""
    parser = new_parser("scripts.collect_batch", __doc__)
    parser.add_argument("--batch", required=True, help="batch file: the runs that are expected")
    parser.add_argument("--results-dir", required=True, help="folder with runs/")
    parser.add_argument("--output", required=True, help="CSV file to write")
    return run_program(parser, _execute, argv)


def _execute(arguments: argparse.Namespace) -> dict[str, Any]:
    from scripts.lib.results.files import atomic_path
    from scripts.lib.summary.collecting import collect, missing_in, read_batch

    batch = read_batch(arguments.batch)
    frame = collect([batch], arguments.results_dir).runs
    with atomic_path(arguments.output) as temporary:
        frame.to_csv(temporary, index=False)
    if missing := missing_in(frame):
        raise InputError(
            f"{arguments.output}: {len(missing)} of {len(frame)} runs are missing:", *missing
        )
    return {"sweep": batch.sweep, "batch": batch.batch, "rows": len(frame)}


if __name__ == "__main__":
    raise SystemExit(main())
