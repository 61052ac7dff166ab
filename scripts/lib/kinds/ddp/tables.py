"""Table of data-parallel runs: a row a mode."""

import pandas as pd

POINT = ["model", "task", "ranks", "global_batch", "max_length", "cost_type", "precision"]
FIGURES = [
    "mean_step_time_ms", "mean_step_time_ci_low_ms", "mean_step_time_ci_high_ms", "gain",
    "gain_ci_low",
    "gain_ci_high", "padded_gain", "cpu_gain", "median_step_time_ms", "p95_step_time_ms",
    "p99_step_time_ms", "imbalance", "padded_imbalance", "padding_share", "efficiency",
    "wait_share", "allreduce_share", "mean_schedule_time_ms", "samples_per_s", "tokens_per_s",
    "final_loss", "eval_loss", "eval_accuracy",
]  # fmt: skip
# Of all modes of a run together.
OF_RUN = ["peak_memory_mib"]


def modes(rows: pd.DataFrame) -> pd.DataFrame:
    """Each mode of each data-parallel run with its main figures; one row for a run without."""
    columns = [*POINT, "mode", "status", *FIGURES, *OF_RUN, "reason", "run"]
    table = rows.reindex(columns=columns)
    table["reason"] = table["reason"].where(table["status"] != "ok")
    return table.dropna(axis=1, how="all")
