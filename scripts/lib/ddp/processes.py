"""The ranks of a run: joining them, pinning them, and ending all when one fails."""

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

log = logging.getLogger(__name__)
# A rank that prepares data lets the others wait for as long.
TIMEOUT = timedelta(hours=1)
_LOST = ("Connection closed", "Connection reset", "Connection refused", "Broken pipe",
         "Timed out waiting", "Socket closed", "remote process exited", "NCCL")  # fmt: skip


class RankLost(OSError):
    """Another rank is gone, and with it the step."""


def local_rank() -> int:
    """Rank among those of this machine."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pin_to_core() -> int | None:
    """Give this rank a core of its own where there are enough; returns it, or None.

    Call it before torch is imported, so that all its threads stay there.
    """
    if not hasattr(os, "sched_setaffinity"):
        return None
    cores = sorted(os.sched_getaffinity(0))
    if int(os.environ.get("LOCAL_WORLD_SIZE", "1")) > len(cores):
        return None
    core = cores[local_rank()]
    os.sched_setaffinity(0, {core})
    return core


@contextmanager
def joined(device_kind: str, init_method: str = "env://") -> Iterator[Any]:
    """Join the process group, gloo on CPUs and NCCL on GPUs; yields this rank's torch device."""
    import torch
    import torch.distributed as dist

    # A rank that waits in a collective must still end at once when it is told to.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    device = torch.device("cpu")
    if device_kind == "cuda":
        device = torch.device("cuda", local_rank() % torch.cuda.device_count())
        torch.cuda.set_device(device)
    else:
        torch.set_num_threads(1)
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if device_kind == "cuda" else "gloo",
        init_method=init_method,
        rank=int(os.environ.get("RANK", "0")),
        world_size=int(os.environ.get("WORLD_SIZE", "1")),
        timeout=TIMEOUT,
    )
    yield device
    dist.destroy_process_group()


def is_lost(error: BaseException) -> bool:
    """Whether an exception only says that another rank is gone."""
    return isinstance(error, RuntimeError) and any(mark in str(error) for mark in _LOST)
