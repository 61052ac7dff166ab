"""Table of served models, under the names that the field gives its columns."""

from contextlib import suppress

import pandas as pd

# What tells two points of one model apart beside the columns of the table, shown where it differs.
VARIANT = {
    "spec_decoding": "Spec decoding",
    "load_request_rate": "Request rate",
    "load_random_range_ratio": "Range ratio",
    "server_base_url": "Server",
    "image": "Image",
}
COLUMNS = {
    "model": "Model",
    "hardware": "Hardware",
    "framework": "Framework",
    "requested_precision": "Precision",
    "isl": "ISL",
    "osl": "OSL",
    "tp": "TP",
    "ep": "EP",
    "dp_attn": "DP attention",
    "conc": "Conc",
}
FIGURES = {
    "median_ttft_ms": "TTFT (ms)",
    "median_tpot_ms": "TPOT (ms)",
    "intvty": "Interactivity (tok/s/user)",
    "median_e2el_ms": "E2EL (ms)",
    "tput_per_gpu": "Throughput per GPU (tok/s)",
    "output_tput_per_gpu": "Output throughput per GPU (tok/s)",
    "num_failed": "Failed",
    "num_wrong_length": "Wrong length",
}


def served(summary: pd.DataFrame) -> pd.DataFrame:
    """All points, whatever became of them: medians, and rates per GPU (a CPU counts as one)."""
    points = inference_runs(summary)
    columns = {
        "model": COLUMNS["model"],
        "hardware": COLUMNS["hardware"],
        "device_name": "Device",  # the measured one; the runner is what the entry is for
        **COLUMNS,
        **{key: VARIANT[key] for key in varying(points)},
        "status": "Status",
        **FIGURES,
        "warnings": "Warnings",
        "reason": "Reason",
        "run": "Run",
    }
    table = points.reindex(columns=list(columns)).replace({"": pd.NA})
    with suppress(ValueError, TypeError):  # numbers, but for topologies over several nodes
        table["conc"] = pd.to_numeric(table["conc"])
    return table.rename(columns=columns).dropna(axis=1, how="all")


def inference_runs(summary: pd.DataFrame) -> pd.DataFrame:
    """Rows of inference runs, with `hardware`: the runner that the entry names.

    Sorted by server and concurrency, the sweeps' order else.
    """
    points = summary[summary["kind"] == "inference"]
    if "runner" not in points:  # not one result
        return points.reindex(columns=[*points.columns, "runner", "hardware", "conc", "model"])
    points = points.assign(
        hardware=points["runner"],
        # A topology over several nodes has a list of concurrencies, written as text.
        _conc=pd.to_numeric(points["conc"], errors="coerce"),
    )
    keys = [key for key in (*COLUMNS, *VARIANT) if key != "conc" and key in points]
    points["_server"] = points.groupby(keys, sort=False, dropna=False).ngroup()
    return points.sort_values(["_server", "_conc"], kind="stable").drop(
        columns=["_server", "_conc"]
    )


def varying(points: pd.DataFrame) -> list[str]:
    """Names in `VARIANT` that have more than one value among `points`."""
    return [key for key in VARIANT if key in points and points[key].nunique(dropna=False) > 1]
