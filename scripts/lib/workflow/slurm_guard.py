"""Keep a workflow alive through an outage of the Slurm controller.

Three defects of snakemake-executor-plugin-slurm are worked around, found in 2.8.0: a round in which
every status query fails drops all active jobs, after which the workflow waits for ever; the time
between rounds grows to 180 s without an option to limit it; and a submission that no controller
answers counts as a failed job, so that an outage uses up all attempts. Versions that were not
looked at are left as they are, with a line that says so.
"""

import functools
import logging
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from importlib import metadata
from typing import Any

from scripts.lib.schema.errors import InputError
from scripts.lib.workflow.slurm_queue import PendingJobs, refuse_earlier_jobs

log = logging.getLogger("snakemake.logging")

PLUGIN = "snakemake-executor-plugin-slurm"
LOOKED_AT = ("2.8.",)
LONGEST_WAIT_SECONDS = 20.0
PING_SECONDS = 5.0


def guard_executor(executor: str) -> None:
    """Wrap the plugin's submission and its check of jobs, where it is the executor and known.

    `SWEEPMAKE_SLURM_POLL_SECONDS` sets the longest time between two rounds, 20 s without it.
    Raises InputError when it is no positive number, or jobs of an earlier call still run here.
    """
    plugin: Any = sys.modules.get(PLUGIN.replace("-", "_"))
    if executor != "slurm" or hasattr(plugin.Executor.check_active_jobs, "__wrapped__"):
        return
    _wait_for_controller()  # else asking it takes a minute and tells nothing
    refuse_earlier_jobs()
    version = metadata.version(PLUGIN)
    if not version.startswith(LOOKED_AT):
        # Snakemake's handler does not fill in arguments of a record.
        told = f"not guarded against controller outages, only {LOOKED_AT[0]}x is known"
        log.warning(f"{PLUGIN} {version}: {told}")
        return
    longest_wait = _longest_wait()
    pending = PendingJobs()
    check = plugin.Executor.check_active_jobs

    @functools.wraps(check)
    async def check_active_jobs(executor: Any, active_jobs: list[Any]) -> AsyncIterator[Any]:
        settled = _Settled(executor)
        kept = set()
        with settled:
            async for job in check(executor, active_jobs):
                kept.add(id(job))
                yield job
        for job in active_jobs:
            if id(job) not in kept and id(job) not in settled.jobs:
                yield job
        pending.tell(job.external_jobid for job in active_jobs)
        executor.next_seconds_between_status_checks = min(
            executor.next_seconds_between_status_checks, longest_wait
        )

    plugin.Executor.check_active_jobs = check_active_jobs
    submit = plugin.Executor.run_job

    @functools.wraps(submit)
    def run_job(executor: Any, job: Any) -> None:
        _wait_for_controller()
        submit(executor, job)

    plugin.Executor.run_job = run_job


def _wait_for_controller() -> None:
    """Return when a controller answers; at once where that cannot be asked."""
    waited = False
    while not _controller_answers():
        if not waited:
            log.warning("the Slurm controller does not answer: waiting for it to submit jobs")
        waited = True
        time.sleep(PING_SECONDS)


def _controller_answers() -> bool:
    try:
        told = subprocess.run(
            ["scontrol", "ping"], capture_output=True, text=True, timeout=60, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    except OSError:
        return True
    return " is UP" in told.stdout


class _Settled:
    """Notes which jobs an executor reports as finished, well or not."""

    def __init__(self, executor: Any):
        self.executor = executor
        self.jobs: set[Any] = set()

    def __enter__(self) -> None:
        for name in ("report_job_success", "report_job_error"):
            setattr(self.executor, name, self._noting(getattr(self.executor, name)))

    def __exit__(self, *_: object) -> None:
        # The instance's attributes hid the methods of its class.
        del self.executor.report_job_success, self.executor.report_job_error

    def _noting(self, report: Any) -> Any:
        def report_and_note(job: Any, *arguments: Any, **named: Any) -> Any:
            self.jobs.add(id(job))
            return report(job, *arguments, **named)

        return report_and_note


def _longest_wait() -> float:
    text = os.environ.get("SWEEPMAKE_SLURM_POLL_SECONDS", str(LONGEST_WAIT_SECONDS))
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds < float("inf"):
        raise InputError(f"SWEEPMAKE_SLURM_POLL_SECONDS: must be above 0, got {text!r}")
    return seconds
