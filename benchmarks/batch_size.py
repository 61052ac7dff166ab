"""Compare strategies for the largest batch on simulated memory; batch_size_probes has real ones.

    python -m benchmarks.batch_size [--worlds 300] [--upper-limits 64 4096] [--models linear ...]

A world is a seeded function from batch size to peak bytes with a budget. For each memory model the
table has the mean probes and out-of-memory probes, the mean of found / true, and the shares of
worlds in which the size found is exact, does not fit (unsafe), and is certified. `accelerate` and
`lightning` are those packages' own functions, run on the same worlds where they are installed.
"""

import argparse
import math
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from scripts.lib.batch_size.guided import Guided
from scripts.lib.batch_size.memory_line import Line
from scripts.lib.batch_size.search import Outcome, Search, find_largest
from scripts.lib.batch_size.strategies import estimate, gallop
from scripts.lib.kinds.inference.matrix.formats import aligned

BUDGET = 1e9
# Largest size that is told apart; worlds fit at most this much more than the upper limit.
BEYOND = 2
MAX_ATTEMPTS = 5


@dataclass(frozen=True)
class World:
    """Memory of one simulated configuration; `noise` is relative and new in each probe."""

    memory: Callable[[int], float]
    line: Line
    upper_limit: int
    noise: float = 0.0

    @property
    def largest(self) -> int:
        """Largest size that fits without noise, by bisection; 0 where none does."""
        low, high = 0, self.upper_limit + 1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.memory(middle) <= BUDGET else (low, middle)
        return low


@dataclass
class Trial:
    """A strategy's view of a world, with what it tried."""

    world: World
    draw: random.Random
    probes: int = 0
    ooms: int = 0
    fitted: int = 0
    failed: int = 1 << 40

    def __call__(self, batch_size: int) -> Outcome:
        """Probe a size."""
        noise = self.draw.gauss(1, self.world.noise) if self.world.noise else 1.0
        peak = self.world.memory(batch_size) * noise
        self.probes += 1
        if peak > BUDGET:
            self.ooms += 1
            self.failed = min(self.failed, batch_size)
            return Outcome("oom")
        self.fitted = max(self.fitted, batch_size)
        return Outcome("ok", peak)

    def certified(self, found: int) -> bool:
        """Whether `found` was seen to fit and one more was not, or is above the limit."""
        limit = self.world.upper_limit
        seen = found == 0 or self.fitted >= found
        return seen and (found == limit or self.failed == found + 1)


def make_world(model: str, upper_limit: int, draw: random.Random) -> World:
    """Draw a world: weights of 2 to 90 % of the budget, largest sizes even in their logarithm."""
    fixed = BUDGET * draw.uniform(0.02, 0.9)
    largest = math.exp(draw.uniform(0, math.log(BEYOND * upper_limit))) + draw.random()
    slope = (BUDGET - fixed) / largest
    if model == "quadratic":
        share = draw.uniform(0.1, 0.6)
        bend = share * slope / largest
        return World(
            lambda b: fixed + (1 - share) * slope * b + bend * b * b,
            Line(fixed, slope),
            upper_limit,
        )
    if model == "stepped":
        step = draw.choice([2, 4, 8])
        return World(
            lambda b: fixed + slope * ((b - 1) // step * step + 1), Line(fixed, slope), upper_limit
        )
    if model == "kinked":
        kink, more = draw.uniform(0.1, 0.9) * largest, draw.uniform(0.3, 2.0)
        return World(
            lambda b: fixed + slope * (b + more * max(0, b - kink)), Line(fixed, slope), upper_limit
        )
    noise = 0.005 if model == "noisy" else 0.0
    return World(lambda b: fixed + slope * b, Line(fixed, slope), upper_limit, noise)


MODELS = ("linear", "quadratic", "stepped", "kinked", "noisy")


def neighbour_line(world: World, draw: random.Random) -> Line:
    """Return the line of a neighbouring run: within 1 % in both parts."""
    return Line(
        world.line.intercept * draw.uniform(0.99, 1.01), world.line.slope * draw.uniform(0.99, 1.01)
    )


def _search(trial: Trial, strategy: Any, repeat: int = 1) -> int:
    search = Search(trial, trial.world.upper_limit, budget_bytes=BUDGET)
    return find_largest(search, strategy, repeat).found or 0


def _oracle(trial: Trial) -> int:
    """Make only the probes of the certificate: fewer would not prove the answer."""
    largest = trial.world.largest
    for size in (largest, largest + 1):
        if 1 <= size <= trial.world.upper_limit:
            trial(size)
    return largest


def _accelerate(trial: Trial) -> int:
    from accelerate.utils import memory

    memory.clear_device_cache = lambda *args, **kwargs: None

    def step(batch_size: int) -> int:
        if trial(batch_size).outcome == "oom":
            raise RuntimeError("CUDA out of memory.")
        return batch_size

    try:
        return memory.find_executable_batch_size(
            step, starting_batch_size=trial.world.upper_limit
        )()
    except RuntimeError:  # "No executable batch size found, reached zero."
        return 0


def _lightning(trial: Trial, mode: str) -> int:
    """Lightning's scaling loop with its defaults; training one step is a probe of the world."""
    from lightning.pytorch.tuner import batch_size_scaling as scaling

    size = 2

    def run(*_: Any) -> None:
        if trial(size).outcome == "oom":
            raise RuntimeError("CUDA out of memory.")

    def adjust(
        *_: Any, factor: float = 1.0, value: int | None = None, max_val: int = 8192, **__: Any
    ) -> tuple[int, bool]:
        nonlocal size
        before, size = size, min(max_val, value if value is not None else int(size * factor))
        return size, size != before

    scaling._try_loop_run, scaling._adjust_batch_size = run, adjust
    for name in ("garbage_collection_cuda", "_reset_progress", "_reset_dataloaders"):
        setattr(scaling, name, lambda *_: None)
    scaling.lightning_setattr = lambda *_: None
    trainer = argparse.Namespace(lightning_module=None)
    limit = trial.world.upper_limit
    if mode == "power":
        return scaling._run_power_scaling(trainer, 2, "batch_size", 25, {}, limit)
    return scaling._run_binsearch_scaling(trainer, 2, "batch_size", 25, {}, 0.05, limit)


FINDERS: dict[str, Callable[[Trial, random.Random], int]] = {
    "floor": lambda trial, draw: _oracle(trial),
    "guided": lambda trial, draw: _search(trial, Guided()),
    "guided, next of a family": lambda trial, draw: _search(
        trial, Guided(neighbour_line(trial.world, draw))
    ),
    "gallop": lambda trial, draw: _search(trial, gallop),
    "estimate": lambda trial, draw: _search(
        trial, estimate(int(trial.world.upper_limit * draw.choice(SHARES)), MAX_ATTEMPTS)
    ),
    "accelerate": lambda trial, draw: _accelerate(trial),
    "lightning power": lambda trial, draw: _lightning(trial, "power"),
    "lightning binsearch": lambda trial, draw: _lightning(trial, "binsearch"),
}
# The scale factors of the table for max_crops.
SHARES: tuple[float, ...] = (1.0, 0.8, 0.6, 0.5, 0.4, 0.3, 0.25)


def simulate(model: str, upper_limit: int, finder: str, worlds: int, repeat: int = 1) -> list[str]:
    """Return the row of one finder over the worlds of one memory model."""
    rows = []
    for seed in range(worlds):
        world = make_world(model, upper_limit, random.Random(f"{model} {upper_limit} {seed}"))
        draw = random.Random(f"{seed} of {finder}")
        trial = Trial(world, draw)
        found = _search(trial, Guided(), repeat) if repeat > 1 else FINDERS[finder](trial, draw)
        true = world.largest
        rows.append(
            (
                trial.probes,
                trial.ooms,
                found / true if true else 1.0,
                found == true,
                found > true,
                trial.certified(found),
            )
        )
    probes, ooms, ratio, exact, unsafe, certified = (
        mean(column) for column in zip(*rows, strict=True)
    )
    shares = [f"{100 * share:.1f} %" for share in (exact, unsafe, certified)]
    return [
        model,
        str(upper_limit),
        finder,
        f"{probes:.2f}",
        f"{ooms:.2f}",
        f"{ratio:.3f}",
        *shares,
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables; return 0."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--worlds", type=int, default=300, metavar="N")
    parser.add_argument("--upper-limits", type=int, nargs="+", default=[64, 4096], metavar="N")
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    arguments = parser.parse_args(argv)
    heads = [
        "memory",
        "limit",
        "finder",
        "probes",
        "ooms",
        "found/true",
        "exact",
        "unsafe",
        "certified",
    ]
    rows = [heads]
    skipped: dict[str, str] = {}
    for model in arguments.models:
        for limit in arguments.upper_limits:
            for finder in FINDERS:
                try:
                    rows.append(simulate(model, limit, finder, arguments.worlds))
                except ModuleNotFoundError as error:
                    skipped[finder] = str(error)
            if model == "noisy":
                row = simulate(model, limit, "guided, repeat 5", arguments.worlds, repeat=5)
                rows.append(row)
    print(aligned(rows))
    for finder, reason in skipped.items():
        print(f"{finder}: skipped, {reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
