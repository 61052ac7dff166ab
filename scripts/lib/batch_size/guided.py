"""The strategy that follows the line of memory: few probes, always to the certificate.

Peaks of the sizes that fit predict the largest one; the prediction and the size above it are
probed, and wherever they surprise, the search goes on from what it knows. A line from a
neighbouring run, or from an estimate, replaces the opening probes. It says only where to look:
with a wrong line the search is slower, and its result the same.
"""

import math

from scripts.lib.batch_size.memory_line import Line, predict
from scripts.lib.batch_size.search import Search

# Second size of the opening, as a multiple of the first.
OPENING = 8
# A prediction this much above the largest measured size is checked half way, for curvature.
FAR = 4
# Part of the budget by which a line from elsewhere is expected to be wrong.
TOLERANCE = 0.01
# Factor between steps away from a prediction that was wrong.
STEP_GROWTH = 4
# From here on the search only bisects: the predictions lead nowhere.
MAX_PREDICTED = 14
_HUGE = 1 << 40


class Guided:
    """Strategy of one search; needs the search's `budget_bytes`."""

    def __init__(self, line: Line | None = None):
        """Begin with a line of memory in bytes, or with two probes that make one."""
        self._line = line if line and line.slope > 0 else None
        self._step = 1

    def __call__(self, search: Search) -> int:
        """Return the next size to probe."""
        if not search.found:
            size = self._first(search)
        elif len(search.attempts) > MAX_PREDICTED:
            size = _halfway(search)
        else:
            size = self._next(search)
        return max(search.largest + 1, min(size, search.failing - 1))

    def _first(self, search: Search) -> int:
        """Size to probe while none is known to fit."""
        if self._line is None:
            return search.lower_limit
        spread = min(TOLERANCE * search.budget_bytes / self._line.slope, search.upper_limit)
        if not search.attempts:
            size = self._line.size_at(search.budget_bytes)
            # A success says where the line lies and a failure nothing, so rather a little low;
            # up to the spread of one size a hit is likely enough.
            return _whole(size if spread < 2 or size > search.upper_limit else size - spread)
        return search.failing - math.ceil(spread) * self._growing_step()

    def _next(self, search: Search) -> int:
        """Size to probe after the first success."""
        points = search.peaks
        size = self._predict(search)
        if size is None:
            return _halfway(search) if search.has_failing else OPENING * search.largest
        opening = self._line is None and len(points) == 2 and not search.has_failing
        if opening and size > FAR * search.largest:
            return min(_whole(size), search.upper_limit) // 2
        if search.largest < (whole := _whole(size)) < search.failing:
            self._step = 1
            return whole
        return self._beside(search, upwards=whole <= search.largest)

    def _predict(self, search: Search) -> float | None:
        size, peak = search.peaks[-1]
        if len(search.peaks) > 1:
            return predict(search.peaks, search.budget_bytes)
        if self._line:
            return size + (search.budget_bytes - peak) / self._line.slope
        return None

    def _beside(self, search: Search, upwards: bool) -> int:
        """Size beside the bound that a prediction does not leave, further away each time."""
        step = self._growing_step()
        if upwards:
            beside = search.largest + step
            return min(beside, _halfway(search)) if search.has_failing else beside
        # Above the upper limit nothing is known to fail: the limit itself is next.
        return (
            max(search.failing - step, _halfway(search)) if search.has_failing else search.failing
        )

    def _growing_step(self) -> int:
        step, self._step = self._step, self._step * STEP_GROWTH
        return step


def _halfway(search: Search) -> int:
    return max(search.largest + 1, (search.largest + search.failing) // 2)


def _whole(size: float) -> int:
    """Largest whole size, forgiving the rounding of exact lines; finite for a line that is flat."""
    return math.floor(max(-_HUGE, min(size, _HUGE)) + 1e-6)
