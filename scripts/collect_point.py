"""Copy the measured point of a server to the result of its run.

    python -m scripts.collect_point --run run.json --server-dir DIR --output inference.json

Fails where the measurement is missing, damaged or of other settings, after removing what is left of
it: the next call of the workflow measures the point.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.lib.kinds.inference.kind import Inference
from scripts.lib.runtime.program import new_parser, run_program
from scripts.lib.schema.errors import InputError


def main(argv: Sequence[str] | None = None) -> int:
    """CLI entry point."""
    parser = new_parser("scripts.collect_point", __doc__)
    parser.add_argument("--run", required=True, help="run.json of the run")
    parser.add_argument("--server-dir", required=True, help="folder of the run's server")
    parser.add_argument("--output", required=True, help="result file to write")
    return run_program(parser, _execute, argv)


def _execute(arguments: argparse.Namespace) -> dict[str, Any]:
    from scripts.lib.kinds.inference.store import collect, measured_path

    run_id, run = Inference().load_run(arguments.run)
    folder = Path(arguments.server_dir)
    result = collect(folder, run_id, run, Path(arguments.output))
    if result is None:
        measured_path(folder, run_id).unlink(missing_ok=True)
        raise InputError(f"{folder}: no current measurement of {run_id}; the next call makes it")
    return {"run": run_id, "status": result.status, "reason": result.reason}


if __name__ == "__main__":
    raise SystemExit(main())
