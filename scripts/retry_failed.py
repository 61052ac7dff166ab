"""Remove failed and unreadable files of runs, so that the next call makes them again.

    python -m scripts.retry_failed --results-dir results

`oom` and `unsupported` are answers and stay, unless `--status` names them: what this machine could
not do it may do once a package is installed or a device is there. Finished runs are not touched.
"""

import argparse
import json
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.lib.batch_size.result import BatchSizeResult
from scripts.lib.kinds.registry import KINDS, load_run
from scripts.lib.results.reading import read_result
from scripts.lib.runtime.program import new_parser, run_program
from scripts.lib.schema.errors import InputError
from scripts.lib.workflow.lock import WORKFLOW_LOCK, hold_lock

log = logging.getLogger(__name__)

# Of results that may be removed.
STATUSES = ("failed", "unsupported", "oom")


def main(argv: Sequence[str] | None = None) -> int:
    """CLI entry point."""
    parser = new_parser("scripts.retry_failed", __doc__)
    parser.add_argument("--results-dir", default="results", help="folder with runs/")
    parser.add_argument(
        "--status", nargs="+", choices=STATUSES, default=["failed"], help="results to remove"
    )
    return run_program(parser, _execute, argv)


def _execute(arguments: argparse.Namespace) -> dict[str, Any]:
    folder = Path(arguments.results_dir)
    if not folder.is_dir():
        raise InputError(f"--results-dir {folder}: no such folder")
    lock = hold_lock(folder.resolve().parent / WORKFLOW_LOCK)
    removed = []
    for path in sorted(folder.glob("runs/*/*.json")):
        if reason := _reason_to_remove(path, arguments.status):
            log.info("%s", reason.text)
            if reason.measured:
                _forget(path, folder)
            path.unlink()
            removed.append(str(path))
    if lock:
        lock.close()
    return {"removed": removed}


@dataclass(frozen=True)
class _Reason:
    """Why a file is removed, and whether the measurement is what is wrong, not just the file."""

    text: str
    measured: bool = False


def _forget(path: Path, folder: Path) -> None:
    """Remove what a kind keeps of a measurement beside its result."""
    try:
        run_id, run = load_run(path.with_name("run.json"))
    except InputError:
        return
    kind = KINDS[run.kind]
    if path.name == kind.result_file:
        kind.forget(folder, run_id, run.model_dump(exclude_none=True))


def _reason_to_remove(path: Path, statuses: Collection[str]) -> _Reason | None:
    """Why a file of a run is to be made again; None if it may stay."""
    try:
        if path.name == "run.json":
            load_run(path)
            return None
        if path.name not in ("batch_size.json", *(kind.result_file for kind in KINDS.values())):
            return None
        kind = json.loads(path.read_text(encoding="utf-8"))["kind"]
        searched = path.name == "batch_size.json"
        result = read_result(path, BatchSizeResult if searched else KINDS[kind].result)
    except (ValueError, KeyError, TypeError):
        return _Reason(f"{path}: is no result")
    except InputError as error:
        return _Reason(str(error))
    if result.run != path.parent.name:
        return _Reason(f"{path}: is the result of {result.run}")
    if result.status not in statuses:
        return None
    return _Reason(f"{path}: {result.status}: {result.reason}", measured=True)


if __name__ == "__main__":
    raise SystemExit(main())
