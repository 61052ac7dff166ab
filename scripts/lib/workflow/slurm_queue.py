"""What Slurm's queue says of a workflow's jobs: which never start, which are of an earlier call."""

import logging
import os
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from scripts.lib.schema.errors import InputError

log = logging.getLogger("snakemake.logging")

# Reason codes of squeue(1): the job as it asks, or its partition, must change first.
_LASTING = re.compile(
    r"Partition(TimeLimit|NodeLimit|Down|Inactive|Config)|PerJob|BadConstraints|Held|Invalid|"
    r"NotAllowed|NeverSatisfied"
)


def refuse_earlier_jobs() -> None:
    """Raise InputError where jobs of a workflow that was killed still are in this directory.

    They would be submitted again beside themselves; what they finish the call after them keeps.
    """
    here = str(Path.cwd())
    jobs = [
        job
        for job, (folder, comment) in _queue("%Z|%k").items()
        # The executor's comment; a pilot, or what else a user runs here, has none of its kind.
        if (folder, comment[:5]) == (here, "rule_") and job != os.environ.get("SLURM_JOB_ID")
    ]
    if jobs:
        raise InputError(
            f"Slurm still has jobs of an earlier call in {here}: wait until they have "
            f"ended, or end them: scancel {' '.join(jobs)}"
        )


class PendingJobs:
    """Warns once of each job that waits for a lasting reason."""

    def __init__(self) -> None:
        self.told: set[tuple[str, str]] = set()

    def tell(self, jobs: Iterable[str]) -> None:
        """Ask Slurm for the reasons of these jobs' ids, and warn of what is new."""
        found = defaultdict(list)
        reasons = _reasons()
        for job in jobs:
            reason = reasons.get(job, "")
            if _LASTING.search(reason) and (job, reason) not in self.told:
                self.told.add((job, reason))
                found[reason].append(job)
        for reason, ids in found.items():
            # Snakemake's handler does not fill in arguments of a record.
            told = f"Slurm will not start jobs as they are, {reason}: {', '.join(ids)}"
            log.warning(f"{told} (docs/cluster.md)")


def _reasons() -> dict[str, str]:
    """Why this user's pending jobs wait, by their ids."""
    return {job: reason for job, (reason,) in _queue("%r", "--states=PENDING").items()}


def _queue(fields: str, *options: str) -> dict[str, list[str]]:
    """Fields of this user's jobs, by their ids; nothing where Slurm does not answer."""
    command = ["squeue", "--me", "--noheader", *options, f"--format=%i|{fields}"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    found = (line.split("|", fields.count("|") + 1) for line in told.stdout.splitlines())
    return {job: values for job, *values in found if len(values) == fields.count("|") + 1}
