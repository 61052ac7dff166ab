"""Tables of training runs."""

from typing import Any

import numpy as np
import pandas as pd

from scripts.lib.kinds.training.config import TrainingAxes
from scripts.lib.results.result import Effective

# What tells two training runs apart beside size, context and mode: the other axes of a sweep, and
# settings that sweeps may differ in.
AXES = [
    name for name in TrainingAxes.model_fields if name not in ("size", "context_length", "mode")
]
VARIANT = [
    *(f"requested_{name}" if name in Effective.model_fields else name for name in AXES),
    "memory_budget_mib", "vocab", "data_path", "num_steps", "seed", "device",
]  # fmt: skip
POINT = ["model_size", "context_length", "mode", *VARIANT]


def complete(summary: pd.DataFrame) -> pd.DataFrame:
    """All training runs, whatever became of them, with their main figures."""
    columns = [
        "model_size", "context_length", "mode", "batch_size", "precision", "status",
        "median_step_time_ms", "median_step_time_ci_low_ms", "median_step_time_ci_high_ms",
        "tokens_per_s", "mfu", "peak_memory_mib", "device_name", "warnings", "reason",
        "requested_batch_size", "num_parameters", "d_model", "num_layers", "num_heads",
        "forward_only", "attn_implementation", "attention_backend", "compile", "weights_dtype",
        "autocast_dtype", "num_threads", "mean_step_time_ms", "std_step_time_ms",
        "p90_step_time_ms", "p99_step_time_ms", "cv_step_time", "median_forward_time_ms",
        "median_backward_time_ms", "median_optimizer_time_ms", "samples_per_s", "tflops_per_s",
        "peak_reserved_memory_mib", "run",
    ]  # fmt: skip
    runs = _training(summary)
    return runs.reindex(columns=columns).dropna(axis=1, how="all")


def by_size(summary: pd.DataFrame) -> pd.DataFrame:
    """Time, rate and memory along the context length, size by size."""
    return _measured(summary, ["model_size", "context_length", "mode"])


def by_context_length(summary: pd.DataFrame) -> pd.DataFrame:
    """Time, rate and memory along the size, context length by context length."""
    return _measured(summary, ["context_length", "model_size", "mode"])


def pivot(summary: pd.DataFrame) -> pd.DataFrame:
    """Median time in milliseconds: a row a context length and variant, a column a model size.

    The mean stands in where a result file has no trials.
    """
    runs = finished(summary)
    keys = ["context_length", "mode", *varying(runs)]
    if runs.empty:
        return runs[keys]
    wide = runs.pivot_table(
        index=keys, columns="model_size", values="time_ms", aggfunc="median", sort=False
    )
    return wide[_sizes(runs)].sort_index().reset_index().rename_axis(None, axis=1)


def modes(summary: pd.DataFrame) -> pd.DataFrame:
    """Forward-only beside the modes with a backward pass, for the same point.

    The ratio columns tell how many forward passes a step costs. Empty where no point has both.
    """
    runs = finished(summary)
    keys = [key for key in POINT if key != "mode"] + ["batch_size"]
    wide = runs.pivot_table(
        index=keys, columns="mode", values="time_ms", aggfunc="median", sort=False,
        dropna=True,
    ).reset_index()  # fmt: skip
    others = [mode for mode in ("forward_backward", "training_step") if mode in wide]
    if "forward" not in wide or not others:
        return pd.DataFrame()
    wide = wide[wide["forward"].notna() & wide[others].notna().any(axis=1)]
    shown = ["model_size", "context_length", "batch_size", *varying(runs)]
    table = wide[shown].copy()
    for mode in ("forward", *others):
        table[f"{mode}_ms"] = wide[mode]
    for mode in others:
        table[f"{mode} / forward"] = wide[mode] / wide["forward"]
    return table.rename_axis(None, axis=1)


def _training(summary: pd.DataFrame) -> pd.DataFrame:
    return summary[summary["kind"] == "training"]


def finished(summary: pd.DataFrame) -> pd.DataFrame:
    """Finished training runs, with `time_ms`: the median, or the mean without trials.

    What tells runs apart is text, empty where it is unset: pandas drops groups without a value.
    """
    runs = summary[(summary["kind"] == "training") & (summary["status"] == "ok")]
    if "mode" not in runs:  # no training run at all
        return runs.reindex(columns=[*POINT, "num_parameters", "batch_size", "time_ms"])
    told = {name: runs[name].map(_told).astype("string") for name in VARIANT}
    return runs.assign(
        **told, time_ms=runs["median_step_time_ms"].fillna(runs["mean_step_time_ms"])
    )


def _told(value: Any) -> str:
    if pd.isna(value):
        return ""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def varying(runs: pd.DataFrame) -> list[str]:
    """Names of what tells the runs apart beside size, context and mode, where it does."""
    return [name for name in VARIANT if runs[name].nunique(dropna=False) > 1]


def _sizes(runs: pd.DataFrame) -> list[str]:
    """Names of the sizes, the smallest model first; without a count as they come."""
    parameters = runs.groupby("model_size", sort=False)["num_parameters"].max()
    return list(parameters.sort_values(kind="stable", na_position="first").index)


def _measured(summary: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    runs = finished(summary)
    figures = [
        "batch_size", "mean_step_time_ms", "std_step_time_ms", "median_step_time_ms",
        "median_step_time_ci_low_ms", "median_step_time_ci_high_ms", "tokens_per_s",
        "tflops_per_s", "mfu", "peak_memory_mib",
    ]  # fmt: skip
    ranks = {name: rank for rank, name in enumerate(_sizes(runs))}
    ordered = runs.assign(_rank=runs["model_size"].map(ranks)).sort_values(
        ["_rank" if key == "model_size" else key for key in keys], kind="stable"
    )
    return ordered.reindex(columns=[*keys, *varying(runs), *figures]).dropna(axis=1, how="all")
