"""Measure one training run: memory first, then warm-up, then the trials."""

import logging
import resource
import time
import traceback
from pathlib import Path
from statistics import median

import torch

from scripts.lib.devices.peaks import peak_tflops
from scripts.lib.devices.record import (
    device_record,
    device_state,
)
from scripts.lib.devices.units import MIB
from scripts.lib.kinds.training.config import TrainingRun
from scripts.lib.kinds.training.flops import flops_per_step
from scripts.lib.kinds.training.result import TrainingMetrics
from scripts.lib.kinds.training.step import Step, effective, unsupported_reason
from scripts.lib.kinds.training.timing import time_trials
from scripts.lib.results.result import Effective
from scripts.lib.runtime.clocks import clock_of
from scripts.lib.runtime.memory import LiveStorage
from scripts.lib.runtime.outcomes import classify, reason_of
from scripts.lib.runtime.progress import progress
from scripts.lib.runtime.statistics import summarize
from scripts.lib.runtime.torch_device import budget_bytes, limit_memory
from scripts.lib.schema.errors import InputError

log = logging.getLogger(__name__)

# Above this coefficient of variation a figure deserves a second look.
NOISY_CV = 0.1


def measure(
    run: TrainingRun, batch_size: int, tokens: str | Path, device: torch.device
) -> tuple[tuple[TrainingMetrics, Effective] | None, str, str]:
    """Measure a run at a batch size; returns metrics with what ran, status and reason.

    The first is None unless the status is `ok`. Raises InputError for a bad token file.
    """
    if reason := unsupported_reason(run, device):
        return None, "unsupported", reason
    try:
        return _measure(run, batch_size, tokens, device), "ok", ""
    except InputError:
        raise
    except Exception as error:
        status = classify(error)
        if status == "failed":
            log.error("%s", traceback.format_exc())
        return None, status, f"batch size {batch_size}: {reason_of(error)}"


def exercise(run: TrainingRun, batch_size: int, tokens: str | Path, device: torch.device) -> Step:
    """Build a run's step and take two of it, so that gradients and optimiser state exist.

    On a CPU call it within LiveStorage. Raises torch's out-of-memory errors.
    """
    step = Step(run, batch_size, tokens, device)
    for _ in range(2):
        step.whole()
    clock_of(device).synchronize()
    return step


def _measure(
    run: TrainingRun, batch_size: int, tokens: str | Path, device: torch.device
) -> tuple[TrainingMetrics, Effective]:
    if run.num_threads:
        torch.set_num_threads(run.num_threads)
    limit_memory(run.memory_budget_mib, device)
    cuda = device.type == "cuda"
    step, counted_bytes = _first_steps(run, batch_size, tokens, device)
    compile_time_s = _compile(step) if run.compile else None
    clock = clock_of(device)
    if cuda:  # the peak of the steps as they are timed, compiled or not
        torch.cuda.reset_peak_memory_stats(device)
    for _ in range(run.num_warmups):
        step.whole()
    clock.synchronize()
    before = device_state(device)
    with progress("trials", run.num_trials) as advance:
        times, parts = time_trials(step, clock, advance)
    state = {"before": before, "after": device_state(device)}

    timing = summarize(times)
    seconds = timing["median_step_time_ms"] / 1000
    flops = flops_per_step(run, batch_size)
    rate = flops / seconds / 1e12
    peak = run.peak_tflops or peak_tflops(device_record(device).name, run.precision)
    allocated = torch.cuda.max_memory_allocated(device) if cuda else counted_bytes
    metrics = TrainingMetrics(
        forward_only=run.forward_only,
        num_parameters=sum(p.numel() for p in step.model.parameters()),
        trial_times_ms=times,
        **timing,
        forward_times_ms=parts["forward"],
        backward_times_ms=parts.get("backward"),
        optimizer_times_ms=parts.get("optimizer"),
        median_forward_time_ms=median(parts["forward"]),
        median_backward_time_ms=_median(parts.get("backward")),
        median_optimizer_time_ms=_median(parts.get("optimizer")),
        samples_per_s=batch_size / seconds,
        tokens_per_s=batch_size * run.context_length / seconds,
        flops_per_step=flops,
        tflops_per_s=rate,
        peak_tflops=peak,
        mfu=rate / peak if peak else None,
        peak_memory_mib=allocated / MIB,
        peak_reserved_memory_mib=torch.cuda.max_memory_reserved(device) / MIB if cuda else None,
        peak_resident_memory_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        memory_method="CUDA caching allocator" if cuda else "living tensor storage, eager steps",
        compile_time_s=compile_time_s,
        warnings=_warnings(timing, state),
        device_state=state,
    )
    return metrics, effective(step, batch_size)


def _first_steps(
    run: TrainingRun, batch_size: int, tokens: str | Path, device: torch.device
) -> tuple[Step, int]:
    """Step of the run, exercised within its budget, and on a CPU its counted peak in bytes."""
    if device.type == "cuda":
        return exercise(run, batch_size, tokens, device), 0
    with LiveStorage(budget_bytes(run.memory_budget_mib, device)) as storage:
        step = exercise(run, batch_size, tokens, device)
    return step, storage.peak_bytes


def _compile(step: Step) -> float:
    step.compile()
    clock = clock_of(step.device)
    start = time.perf_counter()
    step.whole()
    clock.synchronize()
    return time.perf_counter() - start


def _median(times: list[float] | None) -> float | None:
    return median(times) if times else None


def _warnings(timing: dict, state: dict[str, dict]) -> list[str]:
    found = []
    if timing["cv_step_time"] > NOISY_CV:
        found.append(f"noisy: coefficient of variation {timing['cv_step_time']:.2f}")
    if timing["median_step_time_ci_low_ms"] is None:
        found.append("fewer than 6 trials: no interval of the median")
    for moment, values in state.items():
        if values.get("other_processes"):
            found.append(f"{len(values['other_processes'])} other processes on the GPU {moment}")
        if values.get("throttle_reasons"):
            found.append(f"throttled {moment}: {', '.join(values['throttle_reasons'])}")
    if (busy := state["before"].get("busy_percent")) is not None and busy > 25:
        found.append(f"processors {busy:.0f} % busy before the trials")
    return found
