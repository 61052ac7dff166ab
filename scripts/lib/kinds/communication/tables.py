"""Table of communication runs: one row per message size."""

import pandas as pd

COLUMNS = [
    "operation", "ranks", "dtype", "backend", "message_bytes", "status", "median_time_us",
    "median_time_ci_low_us", "median_time_ci_high_us", "algorithm_bandwidth_gb_per_s",
    "bus_bandwidth_gb_per_s", "num_wrong", "device_name", "warnings", "reason", "p99_time_us",
    "alpha_us", "beta_us_per_mib", "fit_relative_error", "run",
]  # fmt: skip


def messages(rows: pd.DataFrame) -> pd.DataFrame:
    """Each message size of each run; one row for a run without. Empty columns go."""
    return rows.reindex(columns=COLUMNS).replace({"": pd.NA}).dropna(axis=1, how="all")
