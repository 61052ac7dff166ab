"""Sizes chosen from a finished search: the one with a margin of memory, the knee of throughput."""

from collections.abc import Mapping

from scripts.lib.batch_size.memory_line import chord
from scripts.lib.batch_size.search import Search

# Part of the best throughput that the knee may lack.
KNEE_LOSS = 0.05


def recommend(search: Search, allowed_bytes: float) -> int:
    """Largest size up to `search.largest` whose peak stays within `allowed_bytes`.

    Measured peaks decide where there are some; between two of them the line through both, which
    lies above memory that curves upwards. Never below the lower limit: where even that size needs
    the margin, it is the answer. Raises ValueError where nothing fits.
    """
    if search.found is None:
        raise ValueError("nothing fits")
    points = [point for point in search.peaks if point[0] <= search.largest]
    within = [point for point in points if point[1] <= allowed_bytes]
    if not within:
        return _below(points, allowed_bytes, search.lower_limit)
    low = within[-1]
    above = next((point for point in points if point[0] > low[0]), None)
    if above is None:
        return low[0]
    size = int(chord(low, above).size_at(allowed_bytes) + 1e-9)
    return max(low[0], min(size, above[0] - 1))


def settle_recommendation(search: Search, allowed_bytes: float) -> int:
    """`recommend`, probed: the size returned was seen to stay within `allowed_bytes`.

    A probe that needs more says more about memory, and the next recommendation is smaller. Ends at
    the lower limit at the latest.
    """
    while True:
        size = recommend(search, allowed_bytes)
        if size in dict(search.peaks) or not search.repeat(size):
            return recommend(search, allowed_bytes)


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


def _below(points: list[tuple[int, float]], allowed_bytes: float, lower_limit: int) -> int:
    """Size on the line through the smallest two points, where all need more than is allowed."""
    if len(points) > 1 and (line := chord(*points[:2])).slope > 0:
        return max(lower_limit, min(int(line.size_at(allowed_bytes)), points[0][0] - 1))
    return lower_limit
