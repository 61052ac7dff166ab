"""Read training results of older schemas."""

from typing import Any

from scripts.lib.results.upgrades import device_index, renamed, without

_METRICS = {
    "mean_time_ms": "mean_step_time_ms",
    "std_time_ms": "std_step_time_ms",
    "median_time_ms": "median_step_time_ms",
    "median_ci_low_ms": "median_step_time_ci_low_ms",
    "median_ci_high_ms": "median_step_time_ci_high_ms",
    "p10_time_ms": "p10_step_time_ms",
    "p90_time_ms": "p90_step_time_ms",
    "p99_time_ms": "p99_step_time_ms",
    "cv": "cv_step_time",
    "forward_median_time_ms": "median_forward_time_ms",
    "backward_median_time_ms": "median_backward_time_ms",
    "optimizer_median_time_ms": "median_optimizer_time_ms",
    "peak_memory_allocated_mib": "peak_memory_mib",
    "peak_memory_reserved_mib": "peak_reserved_memory_mib",
    "peak_rss_mib": "peak_resident_memory_mib",
    "compile_seconds": "compile_time_s",
}


def upgraded_from_1(data: dict[str, Any]) -> dict[str, Any]:
    """Return a result of schema 1 with the names of schema 2 and what ran in `effective`."""
    metrics = data["metrics"]
    if metrics is None:
        return data
    settings = data["settings"]
    effective = {
        "device": metrics["device"],
        "device_index": device_index(metrics["device"]),
        "precision": settings["precision"],
        "attn_implementation": settings["attn_implementation"],
        "compile": settings["compile"],
        "num_threads": metrics["num_threads"],
        "batch_size": metrics["batch_size"],
    }
    kept = without(metrics, "device", "num_threads", "batch_size")
    return data | {"metrics": renamed(kept, _METRICS), "effective": effective}
