"""Progress of the whole sweep: how many measurements are done, and the time left.

Counted are results of runs and largest batches; other jobs would make the time left look too good.
A point of a server counts when it is collected. On a terminal the bar takes
the place of Snakemake's account of every job, but not of its errors; a log has both.
"""

import atexit
import logging
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from datetime import datetime
from pathlib import PurePath
from typing import Any

from snakemake.logging import logger
from snakemake_interface_logger_plugins.common import LogEvent
from tqdm import tqdm

from scripts.lib.kinds.registry import KINDS
from scripts.lib.runtime.progress import Advance, progress

MEASURING = {"find_batch_size", *(kind.rule for kind in KINDS.values())}
_RESULTS = {"batch_size.json", *(kind.result_file for kind in KINDS.values())}
_ACCOUNT = {
    LogEvent.JOB_INFO,
    LogEvent.JOB_STARTED,
    LogEvent.JOB_FINISHED,
    LogEvent.PROGRESS,
    LogEvent.SHELLCMD,
}
_ACCOUNT_TEXTS = ("Select jobs to execute", "Execute ")


def start_progress(dag: Any) -> None:
    """Show progress of the measuring jobs of Snakemake's `dag` until this process ends."""
    jobs = {job.jobid for job in dag.needrun_jobs() if _is_result(job.output)}
    if not jobs:
        return
    if sys.stderr.isatty():
        for handler in logger.handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stderr:
                handler.addFilter(_is_no_account)
                handler.setStream(_AboveTheBar())
    running = ExitStack()
    atexit.register(running.close)
    advance = running.enter_context(progress("measurements", len(jobs), say=_say))
    logger.addHandler(_Finished(jobs, advance))


class _Finished(logging.Handler):
    """Advance when one of the jobs has finished."""

    def __init__(self, jobs: set[int], advance: Advance):
        super().__init__()
        self.jobs, self.advance = jobs, advance

    def emit(self, record: logging.LogRecord) -> None:
        finished = getattr(record, "event", None) == LogEvent.JOB_FINISHED
        if finished and getattr(record, "job_id", None) in self.jobs:
            self.advance()


def _is_result(paths: Iterable[str]) -> bool:
    """Whether a job with these outputs makes a result of a run, or its largest batch."""
    return any(PurePath(path).name in _RESULTS for path in paths)


class _AboveTheBar:
    """A stream to stderr that leaves the bar below whole."""

    def write(self, text: str) -> None:
        tqdm.write(text, file=sys.stderr, end="")

    def flush(self) -> None:
        sys.stderr.flush()


def _is_no_account(record: logging.LogRecord) -> bool:
    text = str(record.msg or "")
    return getattr(record, "event", None) not in _ACCOUNT and not text.startswith(_ACCOUNT_TEXTS)


def _say(message: str, *values: Any) -> None:
    print(f"{datetime.now():%H:%M:%S}", message % values, file=sys.stderr, flush=True)
