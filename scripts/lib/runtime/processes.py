"""The ranks of a run: joining them, pinning them, and ending all when one fails."""

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from scripts.lib.schema.errors import InputError

log = logging.getLogger(__name__)
# A rank that prepares data lets the others wait for as long.
TIMEOUT = timedelta(hours=1)
METHODS = ("env://", "file://", "tcp://")
# Of gloo and of NCCL; other errors of theirs are this rank's own.
_LOST = ("Connection closed", "Connection reset", "Connection refused", "Broken pipe",
         "Timed out waiting", "Socket closed", "remote process exited")  # fmt: skip


class RankLost(OSError):
    """Another rank is gone, and with it the work they share."""


def placed(name: str) -> int:
    """Whole number in a variable such as RANK or WORLD_SIZE. Raises InputError."""
    value = os.environ.get(name, "1" if name.endswith("WORLD_SIZE") else "0")
    try:
        return int(value)
    except ValueError:
        raise InputError(f"{name}: must be a whole number, got {value!r}") from None


def check_meeting(init_method: str, program: str) -> None:
    """Raise InputError unless the ranks can meet as `init_method` says."""
    if not init_method.startswith(METHODS):
        raise InputError(
            f"--init_method: must begin with {', '.join(METHODS)}, got {init_method!r}"
        )
    needed = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    if init_method.startswith("env://") and not os.environ.keys() >= set(needed):
        raise InputError(
            f"the ranks are not started: start it with torchrun --nproc_per_node=N -m {program}"
        )


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
    if placed("LOCAL_WORLD_SIZE") > len(cores):
        return None
    core = cores[placed("LOCAL_RANK")]
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
        device = torch.device("cuda", placed("LOCAL_RANK") % torch.cuda.device_count())
        torch.cuda.set_device(device)
    else:
        torch.set_num_threads(1)
    backend = "cpu:gloo,cuda:nccl" if device_kind == "cuda" else "gloo"
    try:
        if init_method == "env://":
            from scripts.lib.runtime.meeting import meet  # builds on this module

            store, rank, size = meet(TIMEOUT)
            meeting: dict[str, Any] = {"store": store}
        else:
            rank, size = placed("RANK"), placed("WORLD_SIZE")
            meeting = {"init_method": init_method}
        dist.init_process_group(backend, rank=rank, world_size=size, timeout=TIMEOUT, **meeting)
    except ValueError as error:
        raise InputError(f"--init_method: {' '.join(str(error).split())}") from None
    yield device
    dist.destroy_process_group()


def is_lost(error: BaseException) -> bool:
    """Whether an exception only says that another rank is gone."""
    return isinstance(error, RuntimeError) and any(mark in str(error) for mark in _LOST)
