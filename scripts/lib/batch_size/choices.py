"""Sizes chosen from a finished search: the one with a margin of memory, the knee of throughput."""

import math
from collections.abc import Mapping

from scripts.lib.batch_size.guided import Guided
from scripts.lib.batch_size.memory_line import Line, chord, fit_line
from scripts.lib.batch_size.search import Outcome, Search, find_largest

# Part of the best throughput that the knee may lack.
KNEE_LOSS = 0.05


def recommend(search: Search, allowed_bytes: float, line: Line | None = None) -> int:
    """Estimate the largest size up to `search.largest` whose peak stays within `allowed_bytes`.

    Measured peaks decide where there are some; between two of them the line through both, which
    lies above memory that curves upwards; below a single one a line of the slope of `line`. Never
    below the lower limit: where even that size needs the margin, it is the answer. Raises
    ValueError where nothing fits.
    """
    if search.found is None:
        raise ValueError("nothing fits")
    points = search.peaks
    low = max((point for point in points if point[1] <= allowed_bytes), default=None)
    high = min((point for point in points if point[1] > allowed_bytes), default=None)
    if high is None:
        return search.found
    if low is not None:
        slope = chord(low, high).slope
    else:
        slope = chord(*points[:2]).slope if len(points) > 1 else line.slope if line else 0
    if slope <= 0:
        return low[0] if low else search.lower_limit
    size = high[0] - math.ceil((high[1] - allowed_bytes) / slope - 1e-9)
    return max(low[0] if low else search.lower_limit, min(size, high[0] - 1))


def settle_recommendation(search: Search, allowed_bytes: float, line: Line | None = None) -> int:
    """Find what `recommend` estimates: a search for the largest size within `allowed_bytes`.

    Sizes whose peaks are known are not probed again, and those probed are added to the search. The
    result was seen to stay within, and one more not, so it is the same whatever was probed before.
    """

    def probe(batch_size: int) -> Outcome:
        if batch_size not in dict(search.peaks):
            search.repeat(batch_size)
            if search.failure:
                return search.failure.outcome
        peak = dict(search.peaks).get(batch_size, math.inf)
        return Outcome("ok", peak) if peak <= allowed_bytes else Outcome("oom")

    guess = memory_line(search, line)
    within = Search(probe, search.found, search.lower_limit, budget_bytes=allowed_bytes)
    return find_largest(within, Guided(guess)).found or search.lower_limit


def memory_line(search: Search, line: Line | None) -> Line | None:
    """Least-squares line through the sizes that fit; below two, one of the slope of `line`."""
    return fit_line(search.peaks) or _through(search.peaks, line)


def knee_sizes(largest: int) -> list[int]:
    """Sizes to time for the knee: `largest` and its halves down to 1, rising."""
    sizes = [largest]
    while sizes[-1] > 1:
        sizes.append(sizes[-1] // 2)
    return sizes[::-1]


def knee(samples_per_s: Mapping[int, float]) -> int:
    """Smallest size whose throughput lacks at most 5 % of the best one's."""
    best = max(samples_per_s.values())
    return min(size for size, rate in samples_per_s.items() if rate >= (1 - KNEE_LOSS) * best)


def _through(points: list[tuple[int, float]], line: Line | None) -> Line | None:
    """Line of the slope of `line` through the only point."""
    if not points or line is None:
        return None
    size, peak = points[0]
    return Line(peak - line.slope * size, line.slope)
