"""How far the sweeps are, for people who wait or look for what failed."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from scripts.lib.report.overview.tables import STATUSES


def status_by_batch(runs: pd.DataFrame) -> pd.DataFrame:
    """Count runs, a row each with `sweep`, `batch`, `status`, by sweep and batch."""
    rows = []
    for (sweep, batch), part in runs.groupby(["sweep", "batch"], sort=False):
        counts = {s: int((part["status"] == s).sum()) for s in (*STATUSES, "running")}
        rows.append({"sweep": sweep, "batch": batch, "expected": len(part), **counts})
    return pd.DataFrame(rows)


def unfinished(runs: pd.DataFrame, logs: Path) -> Iterator[str]:
    """Yield a line for each run that has no figures: its status, the reason, its newest log."""
    rest = runs[~runs["status"].isin(["ok", "running"])].drop_duplicates("run")
    for row in rest.itertuples():
        log = newest_log(row.run, logs)
        if row.status == "missing":
            reason = f"no result; its log ends: {last_line(log)}" if log else "not measured yet"
        else:
            reason = row.reason
        yield f"{row.status}: {row.run}: {reason}" + (f" ({log})" if log else "")


def newest_log(run: str, logs: Path) -> Path | None:
    """Return the log that a rule wrote last for a run; empty ones do not count."""
    found = [path for path in logs.glob(f"*/{run}.log") if path.is_file() and path.stat().st_size]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def last_line(path: Path) -> str:
    """Return the last line of a log that says something."""
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "blank")
