"""Search for the largest batch size that fits, with a certificate.

Pure: a search sees only `probe(batch_size) -> Outcome`. It assumes that a size above one that
fails fails, too.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Outcome:
    """What a probe of one batch size found.

    `peak_bytes` is the peak memory of a success. `failed` is anything that is neither a success
    nor out of memory, and ends the search.
    """

    outcome: Literal["ok", "oom", "failed"]
    peak_bytes: float | None = None
    reason: str = ""


@dataclass
class Search:
    """State and record of a search.

    `largest` is the largest size known to fit (0: none), `failing` the smallest known not to fit.
    """

    probe: Callable[[int], Outcome]
    upper_limit: int
    largest: int = 0
    failing: int | None = None
    outcomes: dict[int, Outcome] = field(default_factory=dict)

    @property
    def certified(self) -> bool:
        """Whether `largest` fits and one more fails or is above the upper limit."""
        return self.largest == self.upper_limit or self.failing == self.largest + 1

    @property
    def failure(self) -> Outcome | None:
        """The outcome that ended the search early, if one did."""
        return next((o for o in self.outcomes.values() if o.outcome == "failed"), None)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to probe."""
        return self.certified or self.failure is not None

    def attempt(self, batch_size: int) -> bool:
        """Probe one size and record it; returns whether it fits."""
        outcome = self.outcomes[batch_size] = self.probe(batch_size)
        if outcome.outcome == "ok":
            self.largest = max(self.largest, batch_size)
        elif outcome.outcome == "oom":
            self.failing = min(self.failing or batch_size, batch_size)
        return outcome.outcome == "ok"


def gallop(probe: Callable[[int], Outcome], upper_limit: int) -> Search:
    """Double the batch size from 1 until it fails or reaches `upper_limit`, then bisect.

    At most about 2 log2(largest) probes. Ends certified, or at a probe that failed otherwise.
    """
    search = Search(probe, upper_limit)
    batch_size = 1
    while not search.finished:
        fits = search.attempt(batch_size)
        if search.failing is not None:
            batch_size = (search.largest + search.failing) // 2
        elif fits:
            batch_size = min(2 * batch_size, upper_limit)
    return search


STRATEGIES: dict[str, Callable[[Callable[[int], Outcome], int], Search]] = {"gallop": gallop}


def fit_line(outcomes: dict[int, Outcome]) -> tuple[float, float] | None:
    """Least-squares line of peak bytes over batch size: intercept, slope; None below two points."""
    points = [(size, o.peak_bytes) for size, o in outcomes.items() if o.peak_bytes is not None]
    if len(points) < 2:
        return None
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points)
    slope /= sum((x - mean_x) ** 2 for x, _ in points)
    return mean_y - slope * mean_x, slope


def recommend(search: Search, budget_bytes: float, margin: float) -> int:
    """Largest size up to `search.largest` whose peak stays within (1 - margin) of the budget.

    Measured peaks decide where there are some; between them the line through the successes.
    Never below 1: where even one sample needs the margin, one is the answer.
    """
    allowed = (1 - margin) * budget_bytes
    sizes = [size for size, o in search.outcomes.items() if o.outcome == "ok"]
    within = [size for size in sizes if search.outcomes[size].peak_bytes <= allowed]
    above = [size for size in sizes if search.outcomes[size].peak_bytes > allowed]
    low = max(within, default=1)
    high = min((size for size in above if size > low), default=search.largest + 1) - 1
    line = fit_line(search.outcomes)
    if line and line[1] > 0:
        low = max(low, min(high, int((allowed - line[0]) / line[1])))
    return min(low, search.largest)
