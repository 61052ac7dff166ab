"""What a probe of a data-parallel run does at a batch size: steps of one rank."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from scripts.lib.kinds.ddp.cache import open_text, random_samples
from scripts.lib.kinds.ddp.config import DdpRun
from scripts.lib.kinds.ddp.step import Learner, count_targets


def ddp_step(
    run: DdpRun, batch_size: int, text: str | Path, device: torch.device
) -> Callable[[], None]:
    """Two data-parallel steps of one rank, all samples as long as the longest of the text.

    Gradients, DDP's buckets and the state of the optimiser are alive, as on each of many ranks,
    and so are those of the other modes, which train in turns; this process is the only one of its
    group. `text` is the `meta.json` of the run's text.
    """
    if not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    known = open_text(Path(text).parent)
    samples = random_samples(batch_size, known.longest(run.max_length), known)
    learner, *others = [Learner(run, known, device, run.seed) for _ in run.modes]
    rows, lengths = np.arange(batch_size), samples.lengths(run.max_length)
    total = count_targets(run, lengths)
    for other in others:
        other.step(samples, rows[:1], count_targets(run, lengths[:1]))

    def once() -> None:
        learner.step(samples, rows, total)

    once()
    once()
    return once
