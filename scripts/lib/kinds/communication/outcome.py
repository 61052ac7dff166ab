"""From the times of the messages to the metrics of a run."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from scripts.lib.kinds.communication.bandwidth import bandwidths, fit_line
from scripts.lib.kinds.communication.config import CommunicationRun
from scripts.lib.kinds.communication.result import CommunicationMetrics, MessageMetrics
from scripts.lib.runtime.statistics import median_interval


def collect_metrics(
    run: CommunicationRun,
    messages: Sequence[tuple[int, list[float], int]],
    backend: str,
    pinned: bool,
) -> CommunicationMetrics:
    """Summarise messages of (bytes, times per operation in microseconds, wrong elements)."""
    rows = [_message(run, *message) for message in sorted(messages)]
    fit = fit_line([row.message_bytes for row in rows], [row.median_time_us for row in rows])
    alpha, beta, error = fit or (None, None, None)
    warnings = []
    if not pinned and backend == "gloo":
        warnings.append(f"{run.ranks} ranks share fewer cores: times are those of a crowded host")
    if run.num_trials < 6:
        warnings.append("fewer than 6 trials: no interval of the median")
    return CommunicationMetrics(
        backend=backend,
        pinned=pinned,
        latency_us=rows[0].median_time_us,
        max_message_bus_bandwidth_gb_per_s=rows[-1].bus_bandwidth_gb_per_s,
        alpha_us=alpha,
        beta_us_per_mib=beta,
        fit_relative_error=error,
        messages=rows,
        warnings=warnings,
    )


def wrong_reason(metrics: CommunicationMetrics) -> str:
    """Why a run has failed although it was timed: wrong results; empty where all were right."""
    wrong = [row for row in metrics.messages if row.num_wrong]
    if not wrong:
        return ""
    return f"{wrong[0].num_wrong} elements of {wrong[0].message_bytes} bytes arrived wrong"


def _message(
    run: CommunicationRun, message_bytes: int, times_us: list[float], num_wrong: int
) -> MessageMetrics:
    median = float(np.median(times_us))
    low, high = median_interval(times_us) or (None, None)
    algorithm, bus = bandwidths(run.operation, run.ranks, message_bytes, median)
    values: dict[str, Any] = {
        "message_bytes": message_bytes,
        "median_time_us": median,
        "median_time_ci_low_us": low,
        "median_time_ci_high_us": high,
        "p99_time_us": float(np.percentile(times_us, 99)),
        "algorithm_bandwidth_gb_per_s": algorithm,
        "bus_bandwidth_gb_per_s": bus,
        "num_wrong": num_wrong,
        "trial_times_us": times_us,
    }
    return MessageMetrics(**values)
