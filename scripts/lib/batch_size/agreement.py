"""One verdict of all ranks that probed a size together."""

from scripts.lib.batch_size.search import Outcome
from scripts.lib.runtime.ranks import RankLost


def agree(batch_sizes: list[int], outcomes: list[Outcome]) -> Outcome:
    """Return the one outcome of all ranks: a success if all succeeded, with the largest peak.

    What ends the search counts before out of memory: nothing is known then. Raises RankLost if the
    ranks did not probe the same size.
    """
    if len(set(batch_sizes)) > 1:
        raise RankLost(f"the ranks probed different batch sizes: {batch_sizes}")
    for verdict in ("failed", "unsupported", "oom"):
        for rank, outcome in enumerate(outcomes):
            if outcome.outcome == verdict:
                where = f"rank {rank}: " if len(outcomes) > 1 else ""
                return Outcome(verdict, reason=where + outcome.reason)
    return Outcome("ok", max(outcome.peak_bytes for outcome in outcomes))
