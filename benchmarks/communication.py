"""Bus bandwidth of gloo all-reduce from the product beside a plain loop of torch.distributed.

    python -m benchmarks.communication [--rounds 30]

Both run in the same processes on the same ranks, in turns: a trial of the one, a trial of the
other, in a random order. Prints a table: ratio of the medians with its 95 % bootstrap interval.
"""

import argparse
import json
import random
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing

from scripts.lib.devices.record import cpu_model
from scripts.lib.kinds.communication.bandwidth import bandwidths
from scripts.lib.kinds.communication.config import CommunicationRun
from scripts.lib.kinds.communication.measure import _trial, make_message
from scripts.lib.runtime.statistics import ratio_interval

SIZES = [4096, 262_144, 16_777_216]
ITERATIONS = 20


def main() -> None:
    """CLI entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    arguments = parser.parse_args()
    print(f"{cpu_model()}, {torch.get_num_threads()} cores, torch {torch.__version__}\n")
    print("| ranks | message bytes | sweepmake GB/s | plain loop GB/s | ratio [95 %] |")
    print("| --: | --: | --: | --: | --- |")
    for ranks in (2, 4):
        with tempfile.TemporaryDirectory() as folder:
            torch.multiprocessing.spawn(
                _on_rank, args=(ranks, folder, arguments.rounds), nprocs=ranks
            )
            for size, (own, plain) in json.loads(Path(folder, "times.json").read_text()).items():
                _line(ranks, int(size), np.array(own), np.array(plain))


def _line(ranks: int, size: int, own: np.ndarray, plain: np.ndarray) -> None:
    ratio, low, high = ratio_interval(plain, own)
    rates = [bandwidths("all_reduce", ranks, size, np.median(t))[1] for t in (own, plain)]
    print(
        f"| {ranks} | {size:,} | {rates[0]:.4g} | {rates[1]:.4g} | "
        f"{ratio:.3f} [{low:.3f}, {high:.3f}] |"
    )


def _on_rank(rank: int, ranks: int, folder: str, rounds: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=ranks
    )
    run = CommunicationRun(operation="all_reduce", ranks=ranks)
    device, order, times = torch.device("cpu"), random.Random(0), {}
    for size in SIZES:
        message = make_message(run, size, device)
        tensor = torch.ones(size // 4)
        for _ in range(5):
            message.run()
            dist.all_reduce(tensor)
        pairs = []
        for _ in range(rounds):
            found = {}
            for name in order.sample(("own", "plain"), 2):
                found[name] = (
                    _trial(message, ITERATIONS, device) if name == "own" else _plain(tensor)
                )
            pairs.append((found["own"], found["plain"]))
        slowest = torch.tensor(pairs)
        dist.all_reduce(slowest, op=dist.ReduceOp.MAX)
        times[size] = slowest.T.tolist()
    if rank == 0:
        Path(folder, "times.json").write_text(json.dumps(times))
    dist.destroy_process_group()


def _plain(tensor: torch.Tensor) -> float:
    """Microseconds per all-reduce, as one would write it by hand."""
    dist.barrier()
    start = time.perf_counter()
    for _ in range(ITERATIONS):
        dist.all_reduce(tensor)
    return (time.perf_counter() - start) * 1e6 / ITERATIONS


if __name__ == "__main__":
    main()
