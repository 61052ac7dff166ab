"""Table of accuracy sweeps: a row a point, compared with the reference of its sweep."""

import pandas as pd

from scripts.lib.kinds.accuracy.comparison import Compared
from scripts.lib.kinds.accuracy.view import View

SETTINGS = ("model", "max_crops", "top_k", "num_active_blocks", "block_selection")
METRICS = (
    "accuracy", "accuracy_ci_low", "accuracy_ci_high", "accuracy_std_error", "samples_evaluated",
    "oom_events", "actual_max_crops", "mean_crops", "mean_vision_tokens", "actual_top_k",
    "actual_num_active_blocks", "num_active_parameters", "flops_per_sample",
    "mean_latency_per_sample_ms",
)  # fmt: skip
TIMES = [
    f"{statistic}_{stage}_time_ms"
    for stage in ("vision", "prefill", "decode", "batch")
    for statistic in ("mean", "median", "p95", "p99")
]
COSTS = ("samples_per_s", "duration_s", "peak_memory_mib", "experts_implementation")


def points(view: View) -> pd.DataFrame:
    """Make a row of each point of each sweep. Empty columns go."""
    return pd.DataFrame([_row(point) for point in view.points]).dropna(axis=1, how="all")


def _row(point: Compared) -> dict[str, object]:
    result = point.result
    metrics = result.metrics.model_dump() if result.metrics else {}
    effective = result.effective.model_dump() if result.effective else {}
    selection = result.settings.block_selection
    row: dict[str, object] = {"sweep": point.sweep}
    row |= {name: getattr(result.settings, name) for name in SETTINGS}
    row["block_selection"] = (
        " ".join(map(str, selection)) if isinstance(selection, list) else selection
    )
    row |= {"status": result.status, "reference": point.is_reference}
    row |= {name: metrics.get(name) for name in METRICS[:3]}
    for name in ("difference", "difference_ci_low", "difference_ci_high"):
        row[name] = getattr(point, name)
    row |= {"pareto_flops": point.pareto_flops, "pareto_latency": point.pareto_latency}
    row["alias_of"] = point.alias_of
    row |= {"batch_size": effective.get("batch_size"), "precision": effective.get("precision")}
    row |= {name: metrics.get(name) for name in (*METRICS[3:], *TIMES, *COSTS)}
    return row | {"reason": result.reason or None, "run": result.run}
