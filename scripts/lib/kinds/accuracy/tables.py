"""Table of accuracy sweeps: a row a point, compared with the reference of its sweep."""

import pandas as pd

from scripts.lib.kinds.accuracy.comparison import Compared
from scripts.lib.kinds.accuracy.view import View

SETTINGS = ("model", "max_crops", "top_k", "num_active_blocks", "block_selection")
METRICS = (
    "accuracy", "ci_low", "ci_high", "std_error", "samples_evaluated", "batch_size",
    "oom_events", "actual_max_crops", "crops_mean", "vision_tokens_mean", "actual_top_k",
    "actual_num_active_blocks", "active_parameters", "flops_per_sample", "latency_per_sample_ms",
)  # fmt: skip
TIMES = ("vision", "prefill", "decode", "latency")


def points(view: View) -> pd.DataFrame:
    """Make a row of each point of each sweep. Empty columns go."""
    return pd.DataFrame([_row(point) for point in view.points]).dropna(axis=1, how="all")


def _row(point: Compared) -> dict[str, object]:
    result, metrics = point.result, point.result.metrics
    selection = result.settings.block_selection
    row: dict[str, object] = {"sweep": point.sweep}
    row |= {name: getattr(result.settings, name) for name in SETTINGS}
    row["block_selection"] = " ".join(map(str, selection)) if isinstance(selection, list) else (
        selection
    )  # fmt: skip
    row |= {"status": result.status, "reference": point.is_reference}
    row |= {name: getattr(metrics, name, None) for name in METRICS[:3]}
    for name in ("difference", "difference_ci_low", "difference_ci_high"):
        row[name] = getattr(point, name)
    row |= {"pareto_flops": point.pareto_flops, "pareto_latency": point.pareto_latency}
    row["alias_of"] = point.alias_of
    row |= {name: getattr(metrics, name, None) for name in METRICS[3:]}
    for stage in TIMES:
        for part in ("mean_ms", "p50_ms", "p95_ms", "p99_ms") if metrics else ():
            row[f"{stage}_{part}"] = getattr(getattr(metrics, stage), part)
    names = ("samples_per_s", "duration_seconds", "peak_mem_mib", "experts_implementation")
    row |= {name: getattr(metrics, name, None) for name in names}
    return row | {"reason": result.reason or None, "run": result.run}
