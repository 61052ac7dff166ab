"""Ways to impose a memory budget on the process of a probe, and to read its peak."""

import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from scripts.lib.batch_size.allocator import PINNED_ALLOCATOR, fill_heap
from scripts.lib.runtime.memory import LiveStorage


class TooClose(RuntimeError):
    """The workload went through, but only because the allocator emptied its cache on the way."""


@contextmanager
def budget_of(
    method: str, budget_bytes: float, device: torch.device
) -> Iterator[Callable[[], float]]:
    """Impose a budget for the block; yields a function that tells the peak in bytes.

    Memory of the block only: what the process had before is neither counted nor limited. Memory
    above the budget raises what torch raises (see `is_out_of_memory`), or TooClose.
    """
    with METHODS[method](budget_bytes, device) as peak_bytes:
        yield peak_bytes


@contextmanager
def _counted(budget_bytes: float, device: torch.device) -> Iterator[Callable[[], float]]:
    with LiveStorage(budget_bytes) as storage:
        yield lambda: storage.peak_bytes


@contextmanager
def _limited_data(budget_bytes: float, device: torch.device) -> Iterator[Callable[[], float]]:
    """Let the kernel refuse private memory (RLIMIT_DATA): workspaces of operators count, too.

    The peak is that of the address space, which the kernel keeps for us.
    """
    if any(os.environ.get(name) != value for name, value in PINNED_ALLOCATOR.items()):
        raise RuntimeError("budget_method rlimit needs an allocator that is pinned from the start")
    fill_heap()
    before = resource.getrlimit(resource.RLIMIT_DATA)
    size = _status_bytes("VmSize")
    limit = int(_status_bytes("VmData") + budget_bytes)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, before[1]))
    try:
        yield lambda: _status_bytes("VmPeak") - size
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


@contextmanager
def _allocator_share(budget_bytes: float, device: torch.device) -> Iterator[Callable[[], float]]:
    """Limit torch's CUDA allocator; a retry on the way counts as failure, being luck."""
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, budget_bytes / total), device)
    yield lambda: torch.cuda.max_memory_reserved(device)
    retries = torch.cuda.memory_stats(device)["num_alloc_retries"]
    if retries:
        raise TooClose(f"the allocator had to empty its cache {retries} times")


METHODS = {
    "budget": _counted,
    "rlimit": _limited_data,
    "cuda": _allocator_share,
    "cuda_fraction": _allocator_share,
}


def resolve_method(method: str, device_type: str, has_budget: bool) -> tuple[str, str]:
    """Resolve `auto` for a device; returns the method, and why it cannot be or an empty text."""
    if method == "auto":
        method = "budget" if device_type == "cpu" else "cuda_fraction" if has_budget else "cuda"
    if (device_type == "cuda") != method.startswith("cuda"):
        return method, f"budget_method {method} is not for a {device_type} device"
    if method == "cuda" and has_budget:
        return (
            method,
            "budget_method cuda is the whole device; a memory_budget_mib needs cuda_fraction",
        )
    if method == "rlimit" and not Path("/proc/self/status").exists():
        return method, "budget_method rlimit needs Linux"
    return method, ""


def _status_bytes(name: str) -> int:
    """Field of /proc/self/status in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {name}")
