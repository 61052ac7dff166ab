"""What schedules save and cost: largest padded tokens against static, imbalance, milliseconds.

    python -m benchmarks.scheduler --data_files train.tsv --tokenizer vocab.txt

Without files the lengths are those of the embedded docstrings. All schedules see the same global
batches, except `dynamic` and `enumeration`, whose ranks look ahead in buffers of the same stream.
`enumeration` tries all counts, as the guide to dynamic micro-batches does, and ends where there are
too many; transformers' sampler and Karmarkar and Karp's differencing move samples without regard
to padding. Imbalance is the largest over the mean padded tokens of the ranks.
"""

import argparse
import heapq
import itertools
import math
import tempfile
import time
from collections.abc import Callable

import numpy as np

from scripts.lib.kinds.ddp.cache import open_text, write_text_cache
from scripts.lib.kinds.ddp.config import DdpRun
from scripts.lib.kinds.ddp.scheduler import (
    Cost,
    lower_bound,
    prefix_costs,
    schedule_prefix,
    schedule_sorted,
)
from scripts.lib.kinds.ddp.streams import Sequence
from scripts.lib.schema.yaml_file import load_yaml
from scripts.lib.sweeps.sizes import SIZES

POINTS = ((2, 32), (4, 32), (8, 64), (64, 512), (512, 4096))
# The enumeration looks at so many counts in a few seconds.
MAX_ENUMERATED = 2_000_000
COST = Cost("tokens")
Schedule = Callable[[np.ndarray, int], list[np.ndarray]]


def static(lengths: np.ndarray, ranks: int) -> list[np.ndarray]:
    """Equal counts, as they come; indices by rank, as of all schedules here."""
    return [np.arange(rank, len(lengths), ranks) for rank in range(ranks)]


def by_length(lengths: np.ndarray, ranks: int) -> list[np.ndarray]:
    """Ours: sorted by length, cut exactly."""
    return schedule_sorted(lengths, ranks, COST)


def rebalanced(lengths: np.ndarray, ranks: int) -> list[np.ndarray]:
    """transformers' BatchRebalanceSampler, whose every rank computes all ranks' parts."""
    from transformers.trainer_pt_utils import BatchRebalanceSampler

    told = lengths.tolist()
    sampler = BatchRebalanceSampler(told, len(told), ranks, grad_accum=1, shuffle=False)
    # Its iterator yields one rank's part of this; asking for each would compute it once a rank.
    return [np.array(parts[0]) for parts in sampler._assign(range(len(told)), told)]


def differencing(lengths: np.ndarray, ranks: int) -> list[np.ndarray]:
    """Balance real tokens by Karmarkar and Karp's largest differencing method (1982)."""
    heap = []
    for number, (index, length) in enumerate(enumerate(lengths.tolist())):
        parts = [(length, [index])] + [(0, [])] * (ranks - 1)
        heap.append((-length, number, parts))
    heapq.heapify(heap)
    number = len(heap)
    while len(heap) > 1:
        (_, _, first), (_, _, second) = heapq.heappop(heap), heapq.heappop(heap)
        pairs = zip(first, reversed(second), strict=True)
        parts = sorted(((a + b, x + y) for (a, x), (b, y) in pairs), reverse=True)
        heapq.heappush(heap, (parts[-1][0] - parts[0][0], number, parts))
        number += 1
    return [np.array(indices, dtype=int) for _, indices in heap[0][2]]


def enumerate_counts(costs: np.ndarray, total: int) -> np.ndarray:
    """Counts of least largest cost, then least variance, by trying all of them."""
    ranks, buffer = costs.shape
    best, found = (np.inf, np.inf), None
    for counts in itertools.product(range(1, min(buffer, total) + 1), repeat=ranks - 1):
        last = total - sum(counts)
        if 1 <= last <= buffer:
            every = (*counts, last)
            values = [costs[rank][count - 1] for rank, count in enumerate(every)]
            if max(values) <= best[0]:
                best, found = min(((max(values), float(np.var(values))), every), (best, found))
    return np.array(found)


def largest(lengths: np.ndarray, groups: list[np.ndarray]) -> tuple[float, float]:
    """Largest padded tokens of the groups, and that over their mean."""
    padded = np.array([len(g) * lengths[g].max() if len(g) else 0 for g in groups])
    return float(padded.max()), float(padded.max() / padded.mean())


def measure(lengths: np.ndarray, ranks: int, total: int, batches: int) -> dict[str, list[float]]:
    """Largest padded tokens, imbalance and milliseconds of each schedule, means over batches."""
    sequence = Sequence(len(lengths), 0)
    drawn = [lengths[sequence.take(i * total, total)] for i in range(batches)]
    schedules: dict[str, Schedule] = {"static": static, "sorted": by_length}
    schedules |= {"karmarkar-karp": differencing, "batch_rebalance": rebalanced}
    rows = {}
    for name, schedule in schedules.items():
        try:
            rows[name] = _timed(drawn, ranks, schedule)
        except ImportError:
            continue
    rows["dynamic"] = _prefixes(lengths, ranks, total, batches, schedule_prefix)
    affordable = MAX_ENUMERATED // (2 * total // ranks) ** (ranks - 1)
    if affordable:
        times = min(batches, affordable)
        rows["enumeration"] = _prefixes(lengths, ranks, total, times, enumerate_counts)
    bound = float(np.mean([lower_bound(batch, ranks, COST) for batch in drawn]))
    return rows | {"bound": [bound, 1.0, math.nan]}


def _timed(drawn: list[np.ndarray], ranks: int, schedule: Schedule) -> list[float]:
    found, seconds = [], []
    for lengths in drawn:
        start = time.perf_counter()
        groups = schedule(lengths, ranks)
        seconds.append(time.perf_counter() - start)
        found.append(largest(lengths, groups))
    return [*np.mean(found, axis=0), float(np.median(seconds)) * 1000]


def _prefixes(
    lengths: np.ndarray, ranks: int, total: int, batches: int,
    solve: Callable[[np.ndarray, int], np.ndarray],
) -> list[float]:  # fmt: skip
    """Schedule prefixes of first-in-first-out buffers, filled from one sequence."""
    sequence, dealt = Sequence(len(lengths), 0), 0
    size = 2 * total // ranks
    buffers = [np.empty(0, dtype=int)] * ranks
    found, seconds = [], []
    for _ in range(batches):
        for rank, buffer in enumerate(buffers):
            fresh = size - len(buffer)
            buffers[rank] = np.concatenate([buffer, sequence.take(dealt, fresh)])
            dealt += fresh
        start = time.perf_counter()
        counts = solve(prefix_costs(lengths[np.stack(buffers)], COST), total)
        seconds.append(time.perf_counter() - start)
        found.append(largest(lengths, [b[:k] for b, k in zip(buffers, counts, strict=True)]))
        buffers = [buffer[k:] for buffer, k in zip(buffers, counts, strict=True)]
    return [*np.mean(found, axis=0), float(np.median(seconds)) * 1000]


def main() -> None:
    """Measure and print a table for each number of ranks and global batch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_files", nargs="+", help="CSV or TSV files with a text and a label")
    parser.add_argument("--tokenizer", help="hub name, folder, or vocab.txt")
    parser.add_argument("--max_length", type=int, default=256)
    parser.add_argument("--batches", type=int, default=300)
    arguments = parser.parse_args()
    data = {"path": "csv", "data_files": arguments.data_files} if arguments.data_files else {}
    run = DdpRun.model_validate(
        {"size": load_yaml(SIZES).data["nano"], "dataset": data, "tokenizer": arguments.tokenizer}
    )
    with tempfile.TemporaryDirectory() as folder:
        write_text_cache(run, folder)
        lengths = open_text(folder).train.lengths(arguments.max_length)
    for ranks, total in POINTS:
        batches = max(5, arguments.batches * 64 // max(64, total))
        rows = measure(lengths, ranks, total, batches)
        print(f"G={ranks} B={total}, means over {batches} steps")
        print(f"{'schedule':16} {'gain':>6} {'imbalance':>10} {'ms':>9}")
        for name, (tokens, imbalance, milliseconds) in rows.items():
            gain = rows["static"][0] / tokens
            print(f"{name:16} {gain:6.2f} {imbalance:10.2f} {milliseconds:9.3f}", flush=True)


if __name__ == "__main__":
    main()
