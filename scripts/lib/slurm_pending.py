"""Tell of jobs that Slurm keeps in its queue for a reason that does not pass by itself."""

import logging
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterable

log = logging.getLogger("snakemake.logging")

# Reason codes of squeue(1): the job as it asks, or its partition, must change first.
_LASTING = re.compile(
    r"Partition(TimeLimit|NodeLimit|Down|Inactive|Config)|PerJob|BadConstraints|Held|Invalid|"
    r"NotAllowed|NeverSatisfied"
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
    """Why this user's pending jobs wait, by their ids; nothing where Slurm does not answer."""
    command = ["squeue", "--me", "--noheader", "--states=PENDING", "--format=%i|%r"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return dict(line.split("|", 1) for line in told.stdout.splitlines() if "|" in line)
