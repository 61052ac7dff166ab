"""Search for the largest batch size that fits, with a certificate.

Pure: a search sees only `probe(batch_size) -> Outcome`, no torch and no process. It assumes that a
size above one that does not fit does not fit, either, and never probes such a size. The
strategies, which choose the next size, are in `strategies` and `guided`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Outcome:
    """What a probe of one batch size found.

    `peak_bytes` is the peak memory of a success. `unsupported` says that the model, the device or
    a library cannot do what the run asks for, at any size; `failed` is anything else. Both end the
    search.
    """

    outcome: Literal["ok", "oom", "unsupported", "failed"]
    peak_bytes: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class Attempt:
    """A probe of one batch size, in the order in which they took place."""

    batch_size: int
    outcome: Outcome


Probe = Callable[[int], Outcome]


@dataclass
class Search:
    """State and record of a search between two limits.

    `largest` is the largest size known to fit, or `lower_limit - 1` before there is one; `failing`
    the smallest known not to fit, or `upper_limit + 1`. The search is over where they meet.
    Raises ValueError for limits that leave no size.
    """

    probe: Probe
    upper_limit: int
    lower_limit: int = 1
    budget_bytes: float | None = None
    attempts: list[Attempt] = field(default_factory=list)
    largest: int = field(init=False)
    failing: int = field(init=False)

    def __post_init__(self) -> None:
        """Begin with nothing known."""
        if not 1 <= self.lower_limit <= self.upper_limit:
            raise ValueError(f"no batch size from {self.lower_limit} to {self.upper_limit}")
        self.largest, self.failing = self.lower_limit - 1, self.upper_limit + 1

    @property
    def found(self) -> int | None:
        """The largest size that is known to fit; None where none is."""
        return self.largest if self.largest >= self.lower_limit else None

    @property
    def has_failing(self) -> bool:
        """Whether a size within the limits is known not to fit."""
        return self.failing <= self.upper_limit

    @property
    def certified(self) -> bool:
        """Whether `largest` fits, and one more does not or is above the upper limit.

        Also where nothing fits: then the lower limit itself was probed and did not.
        """
        return self.failing == self.largest + 1

    @property
    def failure(self) -> Attempt | None:
        """The attempt that ended the search early, if one did."""
        ends = ("unsupported", "failed")
        return next((a for a in self.attempts if a.outcome.outcome in ends), None)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to probe."""
        return self.certified or self.failure is not None

    @property
    def peaks(self) -> list[tuple[int, float]]:
        """Sizes below `failing` that fit and their largest peaks in bytes, in rising order."""
        found: dict[int, float] = {}
        for attempt in self.attempts:
            peak = attempt.outcome.peak_bytes
            if attempt.outcome.outcome == "ok" and peak is not None:
                found[attempt.batch_size] = max(peak, found.get(attempt.batch_size, 0))
        return sorted((size, peak) for size, peak in found.items() if size < self.failing)

    def attempt(self, batch_size: int) -> bool:
        """Probe a size of which nothing is known and record it; returns whether it fits.

        Raises ValueError for a size that is outside the limits or whose outcome is known.
        """
        if not self.largest < batch_size < self.failing:
            raise ValueError(f"{batch_size} is not between {self.largest} and {self.failing}")
        outcome = self._record(batch_size)
        if outcome == "ok":
            self.largest = batch_size
        elif outcome == "oom":
            self.failing = batch_size
        return outcome == "ok"

    def repeat(self, batch_size: int) -> bool:
        """Probe a size that fitted once more; when it fails now, what is known shrinks to below."""
        outcome = self._record(batch_size)
        if outcome == "oom":
            self.failing = batch_size
            self.largest = max((size for size, _ in self.peaks), default=self.lower_limit - 1)
        return outcome == "ok"

    def times_fitted(self, batch_size: int) -> int:
        """How many probes of this size succeeded."""
        return sum(a.batch_size == batch_size and a.outcome.outcome == "ok" for a in self.attempts)

    def _record(self, batch_size: int) -> str:
        outcome = self.probe(batch_size)
        self.attempts.append(Attempt(batch_size, outcome))
        return outcome.outcome


# Chooses the next size to probe, between `largest` and `failing`; None gives up.
Strategy = Callable[[Search], int | None]


def find_largest(search: Search, strategy: Strategy, repeat: int = 1) -> Search:
    """Probe until the search is finished, or the strategy gives up; returns the search.

    With `repeat` the size found is probed until it succeeded that often: memory that differs from
    probe to probe lets a size through by luck. A failure among them takes the search further down.
    """
    while not search.finished:
        size = strategy(search)
        if size is None:
            return search
        search.attempt(size)
    while search.found and not search.failure and search.times_fitted(search.largest) < repeat:
        if not search.repeat(search.largest):
            return find_largest(search, strategy, repeat)
    return search
