"""Table of data-parallel runs: a row a mode."""

import pandas as pd

MODES = ("static", "dynamic", "sorted")
POINT = ["model", "task", "ranks", "global_batch", "max_length", "cost_type", "precision"]
FIGURES = [
    "step_time_mean_ms", "step_time_ci_low_ms", "step_time_ci_high_ms", "gain", "gain_ci_low",
    "gain_ci_high", "padded_gain", "cpu_gain", "step_time_p50_ms", "step_time_p95_ms",
    "step_time_p99_ms", "imbalance", "padded_imbalance", "padding_share", "efficiency",
    "wait_share", "allreduce_share", "schedule_mean_ms", "samples_per_s", "tokens_per_s",
    "final_loss", "eval_loss", "eval_accuracy",
]  # fmt: skip
# Of all modes of a run together.
OF_RUN = ["peak_memory_mib"]


def modes(summary: pd.DataFrame) -> pd.DataFrame:
    """Each mode of each data-parallel run with its main figures; one row for a run without."""
    runs = summary[summary["kind"] == "ddp"]
    rows = [row for run in runs.to_dict("records") for row in _rows(run)]
    table = pd.DataFrame(
        rows, columns=[*POINT, "mode", "status", *FIGURES, *OF_RUN, "reason", "run"]
    )
    return table.dropna(axis=1, how="all")


def _rows(run: dict) -> list[dict]:
    common = {name: run.get(name) for name in (*POINT, *OF_RUN, "status", "run")}
    common["reason"] = run.get("reason") if run.get("status") != "ok" else None
    measured = [mode for mode in MODES if pd.notna(run.get(f"{mode}_step_time_mean_ms"))]
    return [
        common | {"mode": mode} | {name: run.get(f"{mode}_{name}") for name in FIGURES}
        for mode in measured
    ] or [common]
