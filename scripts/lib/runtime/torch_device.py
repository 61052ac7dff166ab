"""The torch device of a measurement, and how much of its memory this process may use."""

import resource

import torch

from scripts.lib.devices.record import HOST_SHARE, host_memory_bytes
from scripts.lib.devices.units import MIB

# Part of the host's memory that no process exceeds.
HOST_LIMIT = 0.95


def torch_device(kind: str) -> torch.device:
    """Return the torch device for `cpu` or `cuda`, the first visible one."""
    return torch.device("cuda", 0) if kind == "cuda" else torch.device("cpu")


def budget_bytes(memory_budget_mib: float | None, device: torch.device) -> float:
    """Bytes a run may use: its budget, else the device's memory, or 80 % of the host's."""
    if memory_budget_mib is not None:
        return memory_budget_mib * MIB
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return HOST_SHARE * host_memory_bytes()


def limit_memory(memory_budget_mib: float | None, device: torch.device) -> None:
    """Limit the memory of this process.

    On CUDA the budget becomes the process's share of the device. On a CPU, where the budget is
    counted after each operator, the process may use no more than the host has: a single operator
    that is too large then fails to allocate instead of the kernel killing the job.
    """
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        share = min(1.0, budget_bytes(memory_budget_mib, device) / total)
        torch.cuda.set_per_process_memory_fraction(share, device)
        return
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = int(HOST_LIMIT * host_memory_bytes())
    soft = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
