"""What the process of a probe does; it does it once and ends."""

import gc
import time
from collections.abc import Callable
from statistics import median

from scripts.lib.batch_size.search import Outcome
from scripts.lib.batch_size.task import Description, Task
from scripts.lib.devices.record import device_record

# Timed repetitions of the workload: at least so many, and for at least so long.
MIN_REPETITIONS = 3
MIN_SECONDS = 0.5


def describe(task: Task) -> Description:
    """Describe the device of a task."""
    from scripts.lib.batch_size.budgets import resolve_method
    from scripts.lib.runtime.torch_device import budget_bytes, torch_device

    run, target = task.run, torch_device(task.device)
    method, reason = resolve_method(
        task.settings.budget_method, target.type, run.memory_budget_mib is not None
    )
    budget = budget_bytes(run.memory_budget_mib, target)
    if task.probing.shares_host and target.type == "cpu" and run.memory_budget_mib is None:
        budget /= task.probing.ranks(run)
    return Description(
        device_record(target), budget, method, reason or task.probing.unsupported(run, target)
    )


def exercise(task: Task, batch_size: int, budget_bytes: float, budget_method: str) -> Outcome:
    """Go through the workload of a task at one batch size within a budget."""
    from scripts.lib.batch_size.budgets import budget_of
    from scripts.lib.runtime.torch_device import torch_device

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
    from scripts.lib.batch_size.budgets import TooClose
    from scripts.lib.runtime.outcomes import classify, reason_of

    status = "oom" if isinstance(error, TooClose) else classify(error)
    return Outcome(status, reason=reason_of(error))


def throughput(task: Task, batch_size: int) -> float:
    """Samples per second of the workload at a batch size that fits, the median of repetitions."""
    from scripts.lib.runtime.clocks import clock_of
    from scripts.lib.runtime.torch_device import torch_device

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


def _workload(task: Task, batch_size: int) -> Callable[[], None]:
    import torch

    from scripts.lib.runtime.torch_device import torch_device

    # Each thread has a stack, which counts towards a limit of the system.
    limited = task.settings.budget_method == "rlimit"
    if num_threads := 1 if limited else task.probing.num_threads(task.run):
        torch.set_num_threads(num_threads)
    return task.probing.workload(task.run, batch_size, task.data, torch_device(task.device))
