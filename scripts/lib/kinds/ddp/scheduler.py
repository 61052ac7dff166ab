"""Which samples of a step go to which rank: exact min-max schedules; numpy only, no processes.

A step ends with its slowest rank, so both solvers minimise the largest cost over the ranks. The
cost of a group of k samples, padded to its longest of L tokens, is k L (`tokens`), its square
(`tokens_sq`), or a + alpha k L + beta k L^2 with measured coefficients (`fitted`). The first two
have the same optimum, because min-max ignores a monotone transform; so `Cost.weight`, with
cost = f(k weight(L)) and f rising, is all that the solvers look at.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

# Costs this close to each other, relatively, are the same: fitted costs are floating point.
TOLERANCE = 1e-12
# Above so many ranks the schedule of prefixes keeps the first variance it finds.
MAX_POLISHED_RANKS = 64


class ScheduleError(ValueError):
    """No schedule can do what is asked for; the message says why."""


@dataclass(frozen=True)
class Cost:
    """Cost of a group of samples on one rank.

    `coefficients` are a, alpha and beta of `fitted`, none of them negative, in any unit of time.
    """

    kind: Literal["tokens", "tokens_sq", "fitted"] = "tokens"
    coefficients: tuple[float, float, float] = (0.0, 1.0, 0.0)

    def weight(self, lengths: np.ndarray) -> np.ndarray:
        """Share of one sample in a group padded to `lengths` tokens, rising with the length."""
        lengths = np.asarray(lengths, dtype=float)
        if self.kind != "fitted":
            return lengths
        _, linear, square = self.coefficients
        return linear * lengths + square * lengths**2

    def of(self, counts: np.ndarray, longest: np.ndarray) -> np.ndarray:
        """Cost of groups of `counts` samples padded to `longest` tokens, element by element."""
        return self.transform(np.asarray(counts) * self.weight(longest))

    def transform(self, weights: np.ndarray) -> np.ndarray:
        """Cost of groups whose samples' weights add up to `weights`."""
        weights = np.asarray(weights, dtype=float)
        if self.kind == "tokens_sq":
            return weights**2
        return weights + self.coefficients[0] if self.kind == "fitted" else weights


def lower_bound(lengths: np.ndarray, ranks: int, cost: Cost) -> float:
    """Cost that no partition of these samples over `ranks` can beat.

    The larger of the longest sample alone and perfect balance without any padding.
    """
    weights = cost.weight(lengths)
    return float(cost.transform(max(weights.max(), weights.sum() / ranks)))


def fit_cost(counts: np.ndarray, longest: np.ndarray, times: np.ndarray) -> Cost:
    """Fit `fitted` to measured times of groups by least squares, no coefficient negative.

    Three coefficients have few active sets, so all are tried (Lawson and Hanson's problem, small);
    one of the last two is above 0, so that a weight rises with the length.
    """
    tokens = np.asarray(counts, dtype=float) * longest
    columns = np.stack([np.ones_like(tokens), tokens, tokens * longest], axis=1)
    best, least = np.zeros(3), np.inf
    for active in ([0, 1, 2], [0, 1], [0, 2], [1, 2], [1], [2]):
        # Relative errors: a long step must not decide alone.
        solution, *_ = np.linalg.lstsq(
            columns[:, active] / times[:, None], np.ones_like(times), rcond=None
        )
        error = float((((columns[:, active] @ solution) / times - 1) ** 2).sum())
        if (solution >= 0).all() and solution[-1] > 0 and error < least - 1e-15:
            best, least = np.zeros(3), error
            best[active] = solution
    return Cost("fitted", tuple(float(value) for value in best))


def prefix_costs(lengths: np.ndarray, cost: Cost) -> np.ndarray:
    """Cost of the first k samples of each rank's buffer.

    `lengths` has the shape (ranks, buffer); so has the result, whose column k - 1 is for k samples.
    Each row rises.
    """
    longest = np.maximum.accumulate(np.asarray(lengths), axis=-1)
    return cost.of(np.arange(1, longest.shape[-1] + 1), longest)


def token_caps(lengths: np.ndarray, max_tokens: int | None) -> np.ndarray:
    """How many samples of each buffer fit when samples x longest may be at most `max_tokens`."""
    longest = np.maximum.accumulate(np.asarray(lengths), axis=-1)
    if max_tokens is None:
        return np.full(len(longest), longest.shape[1])
    return (longest * np.arange(1, longest.shape[1] + 1) <= max_tokens).sum(axis=1)


def schedule_prefix(
    costs: np.ndarray, total: int, b_min: int = 1, b_max: Sequence[int] | int | None = None
) -> np.ndarray:
    """Take a prefix of every rank's buffer, `total` samples together, with the least largest cost.

    `costs` as from `prefix_costs`; `b_max` limits all ranks or each. Exact: the largest cost is
    bisected over the costs that occur, O(log(G K)) counts of the matrix. Among the optima a low
    variance is chosen: samples are given back where the cost is highest, then moved between pairs
    of ranks while that helps. Returns the samples of each rank, shape (ranks,).

    Raises ScheduleError when the limits leave no schedule.
    """
    ranks, buffer = costs.shape
    most = np.minimum(buffer, np.broadcast_to(buffer if b_max is None else b_max, ranks))
    _check_limits(ranks, total, b_min, most, buffer)
    columns = np.arange(1, buffer + 1)
    allowed = np.where(columns <= most[:, None], costs, np.inf)
    least = allowed[:, b_min - 1].max()
    candidates = np.unique(allowed[np.isfinite(allowed) & (allowed >= least)])
    low, high = 0, len(candidates) - 1
    while low < high:
        middle = (low + high) // 2
        if (allowed <= candidates[middle]).sum() >= total:
            high = middle
        else:
            low = middle + 1
    fitting = (allowed <= candidates[low]).sum(axis=1)
    return _low_variance(costs, fitting, total, b_min, most, candidates[low])


def schedule_sorted(
    lengths: np.ndarray,
    ranks: int,
    cost: Cost,
    max_samples: int | None = None,
    max_tokens: int | None = None,
) -> list[np.ndarray]:
    """Cut samples, sorted by length, into contiguous groups with the least largest cost.

    Some optimum is contiguous in the order of lengths (exchange argument), so the largest cost is
    bisected and groups are filled greedily from the longest sample on. No group is empty, none has
    more than `max_samples`, nor samples x longest above `max_tokens`. `lengths` has the shape
    (samples,); returns the indices of each group, the longest samples first.

    Raises ScheduleError when the limits leave no schedule.
    """
    lengths = np.asarray(lengths)
    if len(lengths) < ranks:
        raise ScheduleError(f"{len(lengths)} samples leave some of {ranks} ranks without any")
    order = np.argsort(-lengths, kind="stable")
    falling = lengths[order]
    weights = cost.weight(falling)
    caps = np.full(len(falling), max_samples or len(falling))
    if max_tokens is not None:
        caps = np.minimum(caps, max_tokens // np.maximum(falling, 1))
    if caps[0] < 1:
        raise ScheduleError(
            f"a sample of {falling[0]} tokens is above the limit of {max_tokens} tokens of a rank"
        )
    sizes = _least_largest(weights.tolist(), caps.tolist(), ranks)
    if sizes is None:
        limits = {"samples": max_samples, "tokens with padding": max_tokens}
        told = " and ".join(f"{value} {name}" for name, value in limits.items() if value)
        raise ScheduleError(
            f"{len(falling)} samples of up to {falling[0]} tokens do not fit on {ranks} ranks of "
            f"at most {told} each"
        )
    return np.split(order, np.cumsum(_spread(sizes, weights, ranks))[:-1])


def _least_largest(weights: list[float], caps: list[int], ranks: int) -> list[int] | None:
    """Sizes of at most `ranks` greedy groups with the least largest weight, or None."""
    low = max(weights[0], sum(weights) / ranks) * (1 - TOLERANCE)
    # The optimum is mostly close to the bound, so the search begins there and not at the top.
    guess, top = 1.25 * low, weights[0] * len(weights)
    while (best := _fill(weights, caps, ranks, guess)) is None:
        if guess >= top:
            return None
        low, guess = guess, 2 * guess
    sizes, high = best
    # Below a feasible whole number the next one is 1 less; others end where rounding begins.
    whole = all(weight.is_integer() for weight in weights)
    while high - low > (1 - TOLERANCE if whole else 4 * TOLERANCE * high):
        middle = (low + high) / 2
        found = _fill(weights, caps, ranks, middle)
        if found and found[1] < high:
            sizes, high = found
        else:
            low = middle
    return sizes


def _fill(
    weights: list[float], caps: list[int], ranks: int, threshold: float
) -> tuple[list[int], float] | None:
    """Fill groups up to a weight from the heaviest sample on; their sizes and largest weight."""
    start, count, sizes, largest = 0, len(weights), [], 0.0
    while start < count:
        if len(sizes) == ranks:
            return None
        weight = weights[start]
        size = min(int(threshold / weight * (1 + TOLERANCE)), caps[start], count - start)
        if size < 1:
            return None
        sizes.append(size)
        largest = max(largest, size * weight)
        start += size
    return sizes, largest


def _spread(sizes: list[int], weights: np.ndarray, ranks: int) -> list[int]:
    """Cut the heaviest groups in two until every rank has one; the largest cost cannot rise."""
    if len(sizes) == ranks:
        return sizes
    starts = np.cumsum([0, *sizes[:-1]])
    heap = [
        (-size * weights[start], int(start), size)
        for start, size in zip(starts, sizes, strict=True)
        if size > 1
    ]
    single = [(int(start), 1) for start, size in zip(starts, sizes, strict=True) if size == 1]
    heapq.heapify(heap)
    while len(heap) + len(single) < ranks:
        _, start, size = heapq.heappop(heap)
        first = max(1, size // 2)
        for begin, part in ((start, first), (start + first, size - first)):
            if part > 1:
                heapq.heappush(heap, (-part * weights[begin], begin, part))
            else:
                single.append((begin, part))
    groups = sorted(single + [(start, size) for _, start, size in heap])
    return [size for _, size in groups]


def _check_limits(ranks: int, total: int, b_min: int, most: np.ndarray, buffer: int) -> None:
    if b_min < 1:
        raise ScheduleError(
            f"b_min {b_min} would leave a rank without samples; it must be 1 or more"
        )
    if ranks * b_min > total:
        raise ScheduleError(
            f"{ranks} ranks with at least {b_min} samples each need more than the {total} of a step"
        )
    if most.min() < b_min:
        rank = int(most.argmin())
        raise ScheduleError(
            f"rank {rank} may take {most[rank]} samples, but must take at least {b_min}"
        )
    if most.sum() < total:
        raise ScheduleError(
            f"the ranks may take {most.sum()} samples together (buffers of {buffer}), fewer than "
            f"the {total} of a step"
        )


def _low_variance(
    costs: np.ndarray, counts: np.ndarray, total: int, b_min: int, most: np.ndarray, limit: float
) -> np.ndarray:
    """Reduce `counts` to `total`, every cost at most `limit`, towards equal costs."""
    table = costs.tolist()
    counts = counts.tolist()
    heap = [(-table[g][k - 1], g) for g, k in enumerate(counts) if k > b_min]
    heapq.heapify(heap)
    for _ in range(sum(counts) - total):
        _, rank = heapq.heappop(heap)
        counts[rank] -= 1
        if counts[rank] > b_min:
            heapq.heappush(heap, (-table[rank][counts[rank] - 1], rank))
    if len(counts) <= MAX_POLISHED_RANKS:
        _polish(table, counts, b_min, most.tolist(), limit)
    return np.array(counts)


def _polish(
    table: list[list[float]], counts: list[int], b_min: int, most: list[int], limit: float
) -> None:
    """Move single samples between ranks, the best move first, while the variance falls."""
    ranks = len(counts)
    now = [table[g][k - 1] for g, k in enumerate(counts)]
    for _ in range(4 * ranks):
        total = sum(now)
        best, move = -1e-9 * max(1.0, total), None
        less = [table[g][k - 2] - now[g] if k > b_min else None for g, k in enumerate(counts)]
        more = [
            table[g][k] - now[g] if k < most[g] and table[g][k] <= limit else None
            for g, k in enumerate(counts)
        ]
        for giver, down in enumerate(less):
            if down is None:
                continue
            for taker, up in enumerate(more):
                if up is None or taker == giver:
                    continue
                # Change of the sum of squares less that of the squared sum over the ranks.
                change = (
                    down * (2 * now[giver] + down)
                    + up * (2 * now[taker] + up)
                    - (down + up) * (2 * total + down + up) / ranks
                )
                if change < best:
                    best, move = change, (giver, taker)
        if move is None:
            return
        for rank, step in zip(move, (-1, 1), strict=True):
            counts[rank] += step
            now[rank] = table[rank][counts[rank] - 1]
