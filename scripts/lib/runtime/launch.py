"""Start the ranks of a run on this machine, and end all of them as soon as one fails."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scripts.lib.results.files import write_text
from scripts.lib.runtime.program import end_with_parent

POLL_SECONDS = 0.1
# The others mostly notice by themselves, and say so.
GRACE_SECONDS = 1.0


@dataclass(frozen=True)
class Failure:
    """Why the ranks were ended: the status of the run, and a line for the user."""

    status: Literal["ok", "oom", "unsupported", "failed", "input"]
    reason: str


# What a failing rank leaves in a folder for the program that started it.
FAILURE_FILE = "failure-rank{}.json"


class RankKilled(OSError):
    """A rank was ended from outside: a fault of the machine, and no outcome of the run."""


def launch(
    arguments: Sequence[str],
    ranks: int,
    failure_path: Callable[[int], Path],
    module: str,
    meet: bool = True,
) -> Failure | None:
    """Run `python -m MODULE ARGUMENTS` on `ranks` ranks; None when all went well.

    The ranks `meet` at a file, so no port is taken, and end with this process however it ends.
    `failure_path` is where a failing rank writes why (see `write_failure`). Raises
    RankKilled where one was ended by a signal.
    """
    for rank in range(ranks):
        failure_path(rank).unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="ranks-") as folder:
        meeting = [f"--init_method=file://{folder}/meeting"] if meet else []
        command = [sys.executable, "-m", module, *arguments, *meeting]
        processes = []
        try:
            for rank in range(ranks):
                processes.append(_start(command, rank, ranks))
            codes = _wait(processes)
        finally:
            for process in processes:
                process.kill()
                process.wait()
    return _failure(codes, failure_path)


def write_failure(
    path: Path, rank: int, status: str, reason: str, lost: bool = False, of_all: bool = False
) -> None:
    """Write why this rank failed, for the program that started it.

    `lost` names another's fault; `of_all` says that the reason is no rank's own.
    """
    report = {"rank": rank, "status": status, "reason": reason, "lost": lost, "of_all": of_all}
    with suppress(OSError):
        write_text(path, json.dumps(report))


def _start(command: list[str], rank: int, ranks: int) -> subprocess.Popen:
    places = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": ranks}
    variables = {name: str(value) for name, value in places.items()}
    return subprocess.Popen(
        command,
        env=os.environ | variables,
        stdout=subprocess.DEVNULL,  # the last line there is this program's
        preexec_fn=end_with_parent,
    )


def _wait(processes: list[subprocess.Popen]) -> list[int | None]:
    """Exit codes of the ranks; once one fails, None for those that had to be ended."""
    while True:
        codes = [process.poll() for process in processes]
        if None not in codes:
            return codes
        if any(codes):
            time.sleep(GRACE_SECONDS)
            return [process.poll() for process in processes]
        time.sleep(POLL_SECONDS)


def _failure(codes: list[int | None], failure_path: Callable[[int], Path]) -> Failure | None:
    if not any(code != 0 for code in codes):
        return None
    reports = []
    for rank in range(len(codes)):
        with suppress(OSError, ValueError):
            reports.append(json.loads(failure_path(rank).read_text()))
    if own := [report for report in reports if not report["lost"]]:
        first = own[0]
        where = "" if first["of_all"] else f"rank {first['rank']}: "
        return Failure(first["status"], where + first["reason"])
    for rank, code in enumerate(codes):
        if code is not None and code < 0:
            raise RankKilled(f"rank {rank} was ended by signal {-code}")
    rank = next(rank for rank, code in enumerate(codes) if code)
    return Failure("failed", f"rank {rank} ended with exit code {codes[rank]}")
