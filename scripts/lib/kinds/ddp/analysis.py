"""From the records of a run directory to its figures: times, imbalance, padding, efficiency."""

from typing import Any

import numpy as np


def per_step(records: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """One value a step, of records of shape (steps, ranks).

    `step_time_ms` is that of the slowest rank; `imbalance` the largest over the mean time of
    computing, `padded_imbalance` the same of padded tokens; `efficiency` the bound over the largest
    cost; `loss` the mean over all targets of the step.
    """
    compute, padded, targets = (records[k] for k in ("compute_ms", "padded_tokens", "targets"))
    return {
        "step": records["step"][:, 0],
        "step_time_ms": records["step_time_ms"].max(axis=1),
        "cpu_ms": records["cpu_ms"].max(axis=1),
        "imbalance": compute.max(axis=1) / np.maximum(compute.mean(axis=1), 1e-9),
        "padded_imbalance": padded.max(axis=1) / padded.mean(axis=1),
        "padding_share": 1 - records["real_tokens"].sum(axis=1) / padded.sum(axis=1),
        "efficiency": records["cost_bound"][:, 0] / records["cost"][:, 0],
        "loss": (records["loss"] * targets).sum(axis=1) / np.maximum(targets.sum(axis=1), 1),
    }


def summarise_run(records: dict[str, np.ndarray], warmup_steps: int = 0) -> dict[str, Any]:
    """Figures of one run of one mode: times, rates and shares over the steps after the warm-up.

    Rates are samples, and real tokens, over the sum of the slowest rank's times.
    """
    counted = {name: values[warmup_steps:] for name, values in records.items()}
    steps = per_step(counted)
    times = steps["step_time_ms"]
    p50, p95, p99 = (float(value) for value in np.percentile(times, [50, 95, 99]))
    seconds = float(times.sum()) / 1000
    shares = {
        f"{part}_share": float(counted[f"{part}_ms"].sum() / counted["step_time_ms"].sum())
        for part in ("wait", "allreduce", "schedule")
    }
    return {
        "steps": len(times),
        "mean_step_time_ms": float(times.mean()),
        "median_step_time_ms": p50,
        "p95_step_time_ms": p95,
        "p99_step_time_ms": p99,
        "mean_cpu_time_ms": float(steps["cpu_ms"].mean()),
        "imbalance": float(steps["imbalance"].mean()),
        "padded_imbalance": float(steps["padded_imbalance"].mean()),
        "padding_share": float(1 - counted["real_tokens"].sum() / counted["padded_tokens"].sum()),
        "efficiency": float(steps["efficiency"].mean()),
        **shares,
        "mean_schedule_time_ms": float(counted["schedule_ms"].mean()),
        "samples_per_s": float(counted["local_batch"].sum()) / seconds,
        "tokens_per_s": float(counted["real_tokens"].sum()) / seconds,
        "final_loss": float(per_step(records)["loss"][-1]),
    }


def block_times(records: dict[str, np.ndarray], warmup_steps: int, block_steps: int) -> np.ndarray:
    """Time in milliseconds of all steps of each block after the warm-up, shape (blocks,).

    Sums, so that a short block, first or last, weighs as much as it has steps.
    """
    times = records["step_time_ms"].max(axis=1)
    numbers = np.arange(len(times)) // block_steps
    counted = np.arange(len(times)) >= warmup_steps
    return np.array([times[counted & (numbers == n)].sum() for n in np.unique(numbers[counted])])
