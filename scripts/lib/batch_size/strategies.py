"""Strategies that know nothing of memory: which batch size to probe next.

`gallop` doubles and bisects. `estimate` is the procedure of the batch-size guide that preceded
sweepmake: begin at a share of the upper limit that depends on the knobs of the configuration, grow
by half, at most five attempts. Where the guide returned a size it had not seen fit, it goes on
below the known failure here.
"""

from scripts.lib.batch_size.search import Search, Strategy

GROWTH = 1.5


def gallop(search: Search) -> int:
    """Double from the lower limit until a size fails, then bisect.

    About 2 log2(largest) probes.
    """
    if search.has_failing:
        return _middle(search)
    return max(search.lower_limit, min(2 * search.largest, search.upper_limit))


def estimate(start: int, max_attempts: int = 5) -> Strategy:
    """Strategy that begins at `start`, grows by half while sizes fit, then bisects.

    It gives up after `max_attempts` probes, mostly without a certificate. Where nothing has fitted
    by then, the last attempt goes to the lower limit: a size that is returned has been seen to fit.
    """

    def next_size(search: Search) -> int | None:
        left = max_attempts - len(search.attempts)
        if left <= 0:
            return None
        if search.found:
            if search.has_failing:
                return _middle(search)
            return min(max(int(search.largest * GROWTH), search.largest + 1), search.upper_limit)
        if left == 1:
            return search.lower_limit
        size = search.failing // 2 if search.has_failing else start
        return max(search.lower_limit, min(size, search.failing - 1))

    return next_size


def _middle(search: Search) -> int:
    return (search.largest + search.failing) // 2
