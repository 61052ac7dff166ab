"""The overview: what was measured on what."""

import pandas as pd

STATUSES = ("ok", "oom", "unsupported", "failed", "missing")


def overview(summary: pd.DataFrame) -> pd.DataFrame:
    """Count the runs of each sweep by status, and name the devices they ran on."""
    sweeps = summary["sweeps"].str.split(" ")
    rows = []
    for sweep in dict.fromkeys(name for names in sweeps for name in names):
        part = summary[[sweep in names for names in sweeps]]
        devices = sorted(part["device_name"].dropna().unique()) if "device_name" in part else []
        rows.append(
            {
                "sweep": sweep,
                "kind": ", ".join(part["kind"].unique()),
                "runs": len(part),
                **{status: int((part["status"] == status).sum()) for status in STATUSES},
                "devices": ", ".join(devices),
            }
        )
    return pd.DataFrame(rows)
