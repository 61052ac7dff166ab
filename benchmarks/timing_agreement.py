"""Does our median agree with those of other timers on the same model, device and process?

    python -m benchmarks.timing_agreement --size tiny --rounds 40

In each round every timer times the same step once, in a seeded random order, so that a drift of the
machine meets all alike. Printed are the median of each timer and its ratio to ours over the rounds,
with a 95 % bootstrap interval; agreement is an interval that contains 1.
"""

import argparse
import random
import tempfile
import timeit
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.utils import benchmark

from scripts.lib.devices.slots import claim
from scripts.lib.kinds.training.config import TrainingRun
from scripts.lib.kinds.training.step import Step
from scripts.lib.kinds.training.timing import time_whole
from scripts.lib.kinds.training.tokens import write_embedded_tokens
from scripts.lib.runtime.clocks import clock_of
from scripts.lib.runtime.statistics import ratio_interval
from scripts.lib.runtime.torch_device import torch_device
from scripts.lib.schema.yaml_file import load_yaml
from scripts.lib.sweeps.sizes import SIZES

Timer = Callable[[int], float]


def ours(step: Step) -> Timer:
    """The measurement of `scripts.benchmark`; milliseconds per step, as of all timers here."""
    clock = clock_of(step.device)
    return lambda num_steps: time_whole(step, clock, num_steps)


def plain_loop(step: Step) -> Timer:
    """The loop of the benchmarking guide: `timeit.default_timer`, synchronised at both ends."""

    def synchronize() -> None:
        if step.device.type == "cuda":
            torch.cuda.synchronize()

    def time(num_steps: int) -> float:
        synchronize()
        start = timeit.default_timer()
        for _ in range(num_steps):
            step.whole()
        synchronize()
        return (timeit.default_timer() - start) / num_steps * 1000

    return time


def torch_benchmark(step: Step) -> Timer:
    """`torch.utils.benchmark.Timer` with the threads of the others (its default is one)."""
    timer = benchmark.Timer(
        "step.whole()", globals={"step": step}, num_threads=torch.get_num_threads()
    )
    return lambda num_steps: timer.timeit(num_steps).median * 1000


def do_bench(step: Step) -> Timer:
    """`triton.testing.do_bench`, which also empties the L2 cache before each step."""
    from triton.testing import do_bench as bench

    return lambda num_steps: bench(step.whole, warmup=1, rep=1, return_mode="median")


def main() -> None:
    """Time and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="tiny", help="line of config/sizes.yaml")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--context-length", type=int, default=128)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--num-steps", type=int, default=3)
    arguments = parser.parse_args()
    with claim("auto") as kind, tempfile.TemporaryDirectory() as folder:
        for mode in ("forward", "forward_backward", "training_step"):
            compare(arguments, mode, torch_device(kind), Path(folder, "tokens.npy"))


def compare(arguments: argparse.Namespace, mode: str, device: torch.device, tokens: Path) -> None:
    """Compare the timers on one mode and print a table."""
    run = TrainingRun(
        model_size=arguments.size, **load_yaml(SIZES).data[arguments.size], mode=mode,
        context_length=arguments.context_length, batch_size=arguments.batch_size,
        precision=arguments.precision,
    )  # fmt: skip
    if not tokens.exists():
        write_embedded_tokens(tokens, run.vocab)
    step = Step(run, arguments.batch_size, tokens, device)
    timers = {"ours": ours(step), "plain loop": plain_loop(step)}
    timers["torch.utils.benchmark"] = torch_benchmark(step)
    if device.type == "cuda":
        timers["triton do_bench"] = do_bench(step)
    for timer in timers.values():
        timer(arguments.num_steps)
    times: dict[str, list[float]] = {name: [] for name in timers}
    order = random.Random(0)
    for _ in range(arguments.rounds):
        for name in order.sample(list(timers), len(timers)):
            times[name].append(timers[name](arguments.num_steps))
    print(f"{run.model_size} {mode} on {device}, {arguments.rounds} rounds", flush=True)
    print(f"{'timer':24} {'median ms':>10} {'ratio':>7} {'95 % interval':>16}")
    own = np.array(times["ours"])
    for name, values in times.items():
        ratio, low, high = ratio_interval(np.array(values), own)
        print(f"{name:24} {np.median(values):10.3f} {ratio:7.3f} {low:8.3f}-{high:.3f}")


if __name__ == "__main__":
    main()
