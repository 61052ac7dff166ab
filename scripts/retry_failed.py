"""Remove the results of failed runs, so that the next call of the workflow measures them again.

    python -m scripts.retry_failed --results-dir results

Only `status: failed` counts: `oom` and `unsupported` are answers. Finished runs are not touched.
"""

import argparse
import json
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
    removed = []
    for path in sorted(Path(arguments.results_dir).glob("runs/*/*.json")):
        if path.name in ("batch_size.json", *RESULT_FILES.values()) and (reason := _failure(path)):
            log.info("%s", reason)
            path.unlink()
            removed.append(str(path))
    return {"removed": removed}


def _failure(path: Path) -> str:
    """Why a result is to be made again; empty if it is an answer."""
    try:
        kind = json.loads(path.read_text(encoding="utf-8"))["kind"]
        model = BatchSizeResult if path.name == "batch_size.json" else RESULT_MODELS[kind]
        result = read_result(path, model)
    except (ValueError, KeyError, TypeError):
        return f"{path}: is no result"
    except InputError as error:
        return str(error)
    return f"{path}: failed: {result.reason}" if result.status == "failed" else ""


if __name__ == "__main__":
    raise SystemExit(main())
