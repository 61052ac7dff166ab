"""Which points of a server are not measured, found from what is kept before any job starts."""

import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from scripts.lib.kinds.inference.config import MEASURED, POINTS


def missing_points(
    server: str,
    runs: Collection[str],
    files: Collection[str],
    version: int,
    results: str | Path,
) -> set[str]:
    """Return those of a server's points `runs` that have no measurement of this version.

    A point with a result is measured if the server's list has it; one without, if its measurement
    is intact. All are missing without a list, or where one of `files`, the model's, is newer.
    """
    folder = Path(results, "servers", server)
    points = _read(folder / POINTS)
    if points is None or _newer(files, folder / POINTS):
        return set(runs)
    return {
        run
        for run in runs
        if not _of_version(points.get(run), version)
        or not (Path(results, "runs", run, "inference.json").exists() or _intact(folder, run))
    }


def _of_version(point: Any, version: int) -> bool:
    return isinstance(point, dict) and point.get("measurement_version") == version


def _intact(folder: Path, run: str) -> bool:
    """Whether the measurement of a point can be read and says whose it is."""
    result = _read(folder / MEASURED / f"{run}.json")
    requests = folder / MEASURED / f"{run}.parquet"
    return result is not None and result.get("run") == run and requests.exists()


def _newer(files: Iterable[str], path: Path) -> bool:
    made = path.stat().st_mtime
    return any(Path(file).exists() and Path(file).stat().st_mtime > made for file in files)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
