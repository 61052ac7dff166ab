"""What the process of a probe does; it does it once and ends."""

import gc
import time
from statistics import median
from typing import Any

from scripts.lib.batch_size.search import Outcome
from scripts.lib.batch_size.task import Description, Task
from scripts.lib.config.accuracy import AccuracyRun
from scripts.lib.config.ddp import DdpRun
from scripts.lib.devices.record import device_record

# Timed repetitions of the workload: at least so many, and for at least so long.
MIN_REPETITIONS = 3
MIN_SECONDS = 0.5


def describe(task: Task) -> Description:
    """Describe the device of a task."""
    from scripts.lib.batch_size.budgets import resolve_method
    from scripts.lib.training.measure import budget_bytes, torch_device
    from scripts.lib.training.step import unsupported_reason

    run, target = task.run, torch_device(task.device)
    method, reason = resolve_method(
        task.settings.budget_method, target.type, run.memory_budget_mib is not None
    )
    budget = budget_bytes(run, target)
    if isinstance(run, DdpRun | AccuracyRun):
        # Ranks on the CPU share the host.
        whole = target.type == "cuda" or run.memory_budget_mib is not None
        return Description(
            device_record(target), budget if whole else budget / run.ranks, method, reason
        )
    return Description(
        device_record(target), budget, method, reason or unsupported_reason(run, target)
    )


def exercise(task: Task, batch_size: int, budget_bytes: float, budget_method: str) -> Outcome:
    """Go through the workload of a task at one batch size within a budget."""
    from scripts.lib.batch_size.budgets import budget_of
    from scripts.lib.training.measure import torch_device

    try:
        target = torch_device(task.device)
        if budget_method == "rlimit":
            # What the first pass leaves behind (late imports, Python's arenas) differs from start
            # to start, and would decide which batch fits.
            _workload(task, 1)
            gc.collect()
        with budget_of(budget_method, budget_bytes, target) as peak_bytes:
            _workload(task, batch_size)
            peak = peak_bytes()
        return Outcome("ok", peak)
    except Exception as error:
        return _outcome_of(error)


def _outcome_of(error: Exception) -> Outcome:
    """Return the end of a probe whose workload raised this."""
    from scripts.lib.accuracy.knobs.base import Unsupported
    from scripts.lib.batch_size.budgets import TooClose
    from scripts.lib.training.measure import classify

    if isinstance(error, Unsupported):  # its text is a whole reason, the same without a search
        return Outcome("unsupported", reason=str(error))
    status = "oom" if isinstance(error, TooClose) else classify(error)
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return Outcome(status, reason=text[:500])


def throughput(task: Task, batch_size: int) -> float:
    """Samples per second of the workload at a batch size that fits, the median of repetitions."""
    from scripts.lib.training.measure import torch_device
    from scripts.lib.training.timing import clock_of

    once = _workload(task, batch_size)
    clock = clock_of(torch_device(task.device))
    clock.synchronize()
    times: list[float] = []
    while len(times) < MIN_REPETITIONS or sum(times) < MIN_SECONDS:
        start = time.perf_counter()
        once()
        clock.synchronize()
        times.append(time.perf_counter() - start)
    return batch_size / median(times)


def _workload(task: Task, batch_size: int) -> Any:
    import torch

    from scripts.lib.batch_size.workloads import WORKLOADS, answer, ddp_step
    from scripts.lib.training.measure import torch_device

    # Each thread has a stack, which counts towards a limit of the system.
    num_threads = 1 if task.settings.budget_method == "rlimit" else task.run.num_threads
    if num_threads:
        torch.set_num_threads(num_threads)
    workload = {DdpRun: ddp_step, AccuracyRun: answer}.get(type(task.run))
    workload = workload or WORKLOADS[task.settings.workload]
    return workload(task.run, batch_size, task.tokens, torch_device(task.device))
