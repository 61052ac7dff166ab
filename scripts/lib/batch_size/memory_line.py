"""Peak memory as a line in the batch size, which it is very nearly.

Forward and generation of a decoder allocate the same bytes for each sample on top of the weights.
Where the line bends (attention over padded blocks, an operator with another workspace above some
size) the largest measured sizes say most about the next ones.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

Point = tuple[int, float]


@dataclass(frozen=True)
class Line:
    """Peak bytes = intercept + slope x batch size."""

    intercept: float
    slope: float

    def at(self, batch_size: float) -> float:
        """Peak memory in bytes at a batch size."""
        return self.intercept + self.slope * batch_size

    def size_at(self, peak_bytes: float) -> float:
        """Batch size, not whole, whose peak is this; the slope must be above 0."""
        return (peak_bytes - self.intercept) / self.slope


def fit_line(points: Sequence[Point]) -> Line | None:
    """Least-squares line through points of size and peak bytes; None below two sizes."""
    if len({size for size, _ in points}) < 2:
        return None
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points)
    slope /= sum((x - mean_x) ** 2 for x, _ in points)
    return Line(mean_y - slope * mean_x, slope)


def chord(low: Point, high: Point) -> Line:
    """Line through two points of different size."""
    slope = (high[1] - low[1]) / (high[0] - low[0])
    return Line(low[1] - slope * low[0], slope)


def predict(points: Sequence[Point], budget_bytes: float) -> float | None:
    """Size at which memory reaches the budget, from the largest of at least two points.

    The line through the largest two, or the parabola through the largest three where it curves
    upwards and reaches the budget sooner. Where the last two do not rise, the slope is that of the
    line through all; None where that does not rise, either.
    """
    line = chord(*points[-2:])
    if line.slope <= 0:
        slope = fit_line(points).slope
        return points[-1][0] + (budget_bytes - points[-1][1]) / slope if slope > 0 else None
    size = line.size_at(budget_bytes)
    if len(points) > 2 and (sooner := _parabola(points[-3:], budget_bytes)) is not None:
        size = min(size, sooner)
    return size


def _parabola(points: Sequence[Point], budget_bytes: float) -> float | None:
    """Size at which the parabola through three points reaches the budget, above the last point."""
    first, middle, last = points
    curvature = (chord(middle, last).slope - chord(first, middle).slope) / (last[0] - first[0])
    slope = chord(middle, last).slope + curvature * (last[0] - middle[0])
    room = budget_bytes - last[1]
    # Below this the curvature is rounding.
    if curvature <= 1e-12 * last[1] or slope <= 0 or room < 0:
        return None
    return last[0] + (math.sqrt(slope**2 + 4 * curvature * room) - slope) / (2 * curvature)
