"""Remove the results of failed runs, so that the next call of the workflow measures them again.

    python -m scripts.retry_failed --results-dir results

Only `status: failed` counts: `oom` and `unsupported` are answers. Finished runs are not touched.
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.lib.program import new_parser, run_program
from scripts.lib.results.batch_size import BatchSizeResult
from scripts.lib.results.kinds import RESULT_FILES, RESULT_MODELS
from scripts.lib.results.reading import read_result
from scripts.lib.schema.errors import InputError

log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    parser = new_parser("scripts.retry_failed", __doc__)
    parser.add_argument("--results-dir", default="results", help="folder with runs/")
    return run_program(parser, _execute, argv)


def _execute(arguments: argparse.Namespace) -> dict[str, Any]:
    models = {"batch_size.json": BatchSizeResult}
    models |= {file: RESULT_MODELS[kind] for kind, file in RESULT_FILES.items()}
    removed = []
    for path in sorted(Path(arguments.results_dir).glob("runs/*/*.json")):
        if path.name in models and (reason := _failure(path, models[path.name])):
            log.info("%s: %s", path, reason)
            path.unlink()
            removed.append(str(path))
    return {"removed": removed}


def _failure(path: Path, model: type) -> str:
    try:
        result = read_result(path, model)
    except InputError as error:
        return str(error)
    return f"failed: {result.reason}" if result.status == "failed" else ""


if __name__ == "__main__":
    raise SystemExit(main())
