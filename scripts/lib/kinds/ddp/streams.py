"""Which samples each step has, mode by mode: epoch-aligned, seeded, resumable.

All modes read one sequence: epoch after epoch a new permutation of all samples, the same on every
rank. So a sample is dealt once an epoch on all ranks together, and because every rank knows all
lengths, each computes the whole step alone: no rank asks another.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from scripts.lib.kinds.ddp.config import DdpRun
from scripts.lib.kinds.ddp.scheduler import (
    Cost,
    lower_bound,
    prefix_costs,
    schedule_prefix,
    schedule_sorted,
    token_caps,
)


class Sequence:
    """The endless sequence of samples of a seed: a permutation for each epoch."""

    def __init__(self, samples: int, seed: int):
        """Prepare for `samples` samples."""
        self.samples, self.seed = samples, seed
        self._epochs: dict[int, np.ndarray] = {}

    def take(self, start: int, count: int) -> np.ndarray:
        """Samples at the places `start` to `start + count` of the sequence, shape (count,)."""
        places = np.arange(start, start + count)
        epochs = places // self.samples
        parts = (
            [
                self._epoch(epoch)[places[epochs == epoch] % self.samples]
                for epoch in range(epochs[0], epochs[-1] + 1)
            ]
            if count
            else [places]
        )
        return np.concatenate(parts)

    def _epoch(self, epoch: int) -> np.ndarray:
        if epoch not in self._epochs:
            if len(self._epochs) > 3:
                del self._epochs[min(self._epochs)]
            generator = np.random.default_rng([self.seed, epoch])
            self._epochs[epoch] = generator.permutation(self.samples)
        return self._epochs[epoch]


@dataclass(frozen=True)
class Plan:
    """Samples of one step for each rank, and its costs: the largest, and one none can beat."""

    groups: list[np.ndarray]
    largest_cost: float
    bound: float


class Stream:
    """The steps of one mode. `state` and `restore` make it continue where it was."""

    def __init__(self, mode: str, run: DdpRun, lengths: np.ndarray, seed: int,
                 cost: Cost | None = None, max_tokens: int | None = None):  # fmt: skip
        """Begin at the first step; `lengths` are those of all samples, cut off."""
        self.mode, self.run, self.lengths, self.seed = mode, run, lengths, seed
        self.cost, self.max_tokens = cost or Cost(run.cost_type), max_tokens
        self.sequence = Sequence(len(lengths), seed)
        self.step, self._dealt = 0, 0
        self._buffers: list[np.ndarray] = [np.empty(0, dtype=np.int64)] * run.ranks

    def next(self) -> Plan:
        """Plan the next step. Raises ScheduleError when the limits leave no schedule."""
        groups = getattr(self, f"_{self.mode}")()
        self.step += 1
        counts = np.array([len(group) for group in groups])
        longest = np.array([self.lengths[group].max() for group in groups])
        samples = self.lengths[np.concatenate(groups)]
        return Plan(
            groups,
            float(self.cost.of(counts, longest).max()),
            lower_bound(samples, self.run.ranks, self.cost),
        )

    def state(self) -> dict[str, Any]:
        """What `restore` needs, plain numbers."""
        return {
            "step": self.step,
            "dealt": self._dealt,
            "buffers": [buffer.tolist() for buffer in self._buffers],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue after the step at which `state` was taken."""
        self.step, self._dealt = state["step"], state["dealt"]
        self._buffers = [np.array(buffer, dtype=np.int64) for buffer in state["buffers"]]

    def _batch(self) -> np.ndarray:
        batch = self.sequence.take(self.step * self.run.global_batch, self.run.global_batch)
        self._dealt += self.run.global_batch
        return batch

    def _static(self) -> list[np.ndarray]:
        batch = self._batch()
        return [batch[rank :: self.run.ranks] for rank in range(self.run.ranks)]

    def _sorted(self) -> list[np.ndarray]:
        batch = self._batch()
        groups = schedule_sorted(
            self.lengths[batch], self.run.ranks, self.cost, max_tokens=self.max_tokens
        )
        # No rank always holds the longest samples.
        order = np.random.default_rng([self.seed, self.step]).permutation(self.run.ranks)
        return [batch[groups[place]] for place in order]

    def _dynamic(self) -> list[np.ndarray]:
        for rank, buffer in enumerate(self._buffers):
            fresh = self.run.buffer_size - len(buffer)
            self._buffers[rank] = np.concatenate([buffer, self.sequence.take(self._dealt, fresh)])
            self._dealt += fresh
        buffered = self.lengths[np.stack(self._buffers)]
        counts = schedule_prefix(
            prefix_costs(buffered, self.cost),
            self.run.global_batch,
            b_max=token_caps(buffered, self.max_tokens),
        )
        groups = [buffer[:k] for buffer, k in zip(self._buffers, counts, strict=True)]
        self._buffers = [buffer[k:] for buffer, k in zip(self._buffers, counts, strict=True)]
        return groups
