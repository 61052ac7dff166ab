"""Read data-parallel results of older schemas."""

from typing import Any

from scripts.lib.results.upgrades import renamed, resolved, without

MODES = ("static", "dynamic", "sorted")
# Autocast over fp32 weights had the names of the types.
PRECISIONS = {"bf16": "bf16_mixed", "fp16": "fp16_mixed"}
_MODE = {
    "step_time_mean_ms": "mean_step_time_ms",
    "step_time_ci_low_ms": "mean_step_time_ci_low_ms",
    "step_time_ci_high_ms": "mean_step_time_ci_high_ms",
    "step_time_p50_ms": "median_step_time_ms",
    "step_time_p95_ms": "p95_step_time_ms",
    "step_time_p99_ms": "p99_step_time_ms",
    "cpu_time_mean_ms": "mean_cpu_time_ms",
    "schedule_mean_ms": "mean_schedule_time_ms",
}
_RUN = {
    "length_mean": "mean_sample_length",
    "length_p50": "median_sample_length",
    "length_p90": "p90_sample_length",
    "length_p99": "p99_sample_length",
    "length_max": "max_sample_length",
}


def settings_of_today(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings of version 0.1.0 with the names of precisions of today."""
    precision = settings["precision"]
    return settings | {"precision": PRECISIONS.get(precision, precision)}


def upgraded_from_1(data: dict[str, Any]) -> dict[str, Any]:
    """Return a result of schema 1 with its modes as a list and what ran in `effective`."""
    data = data | {"settings": settings_of_today(data["settings"])}
    metrics = data["metrics"]
    if metrics is None:
        return data
    modes = [_mode(name, metrics[name]) for name in MODES if metrics[name]]
    best = min(modes, key=lambda mode: mode["mean_step_time_ms"])
    kept = renamed(without(metrics, "device", *MODES), _RUN)
    return data | {
        "effective": {
            "device": metrics["device"],
            "precision": resolved(data["settings"]["precision"])
            or ("fp32" if metrics["device"] == "cpu" else None),
            "num_threads": 1 if metrics["device"] == "cpu" else None,
        },
        "metrics": kept
        | {
            "fastest_mode": best["mode"],
            "fastest_mean_step_time_ms": best["mean_step_time_ms"],
            "fastest_gain": best["gain"],
            "modes": modes,
        },
    }


def _mode(name: str, mode: dict[str, Any]) -> dict[str, Any]:
    seeds = [renamed(seed, _MODE) for seed in mode["seeds"]]
    return {"mode": name} | renamed(mode, _MODE) | {"seeds": seeds}
