"""Read accuracy results of older schemas."""

from typing import Any

from scripts.lib.results.upgrades import renamed, resolved, without

_METRICS = {
    "std": "std_score",
    "std_error": "accuracy_std_error",
    "ci_low": "accuracy_ci_low",
    "ci_high": "accuracy_ci_high",
    "crops_mean": "mean_crops",
    "vision_tokens_mean": "mean_vision_tokens",
    "prompt_tokens_mean": "mean_prompt_tokens",
    "new_tokens_mean": "mean_new_tokens",
    "parameters": "num_parameters",
    "active_parameters": "num_active_parameters",
    "duration_seconds": "duration_s",
    "latency_per_sample_ms": "mean_latency_per_sample_ms",
    "peak_mem_mib": "peak_memory_mib",
}
_STAGES = {"vision": "vision", "prefill": "prefill", "decode": "decode", "latency": "batch"}
_STATISTICS = {"mean_ms": "mean", "p50_ms": "median", "p95_ms": "p95", "p99_ms": "p99"}


def upgraded_from_1(data: dict[str, Any]) -> dict[str, Any]:
    """Return a result of schema 1 with flat latencies and what ran in `effective`."""
    metrics = data["metrics"]
    if metrics is None:
        return data
    latencies = {
        f"{statistic}_{stage}_time_ms": metrics[former][key]
        for former, stage in _STAGES.items()
        for key, statistic in _STATISTICS.items()
    }
    kept = renamed(without(metrics, "batch_size", "attn_implementation", *_STAGES), _METRICS)
    return data | {
        "effective": {
            "precision": resolved(data["settings"]["precision"]),
            "attn_implementation": metrics["attn_implementation"],
            "batch_size": metrics["batch_size"],
        },
        "metrics": kept | latencies,
    }
