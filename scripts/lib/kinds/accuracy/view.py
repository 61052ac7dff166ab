"""What tables and figures of accuracy runs show: points compared, importances, training curves."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.lib.kinds.accuracy.comparison import Compared, compare
from scripts.lib.kinds.accuracy.result import AccuracyResult, ImportanceResult
from scripts.lib.kinds.accuracy.shared import importance_digest, vlm_digest
from scripts.lib.presentation.results import Results


@dataclass(frozen=True)
class View:
    """The points of all sweeps, each beside its reference, and what they share."""

    points: Sequence[Compared]
    importances: Sequence[ImportanceResult]
    curves: Sequence[list[dict[str, str]]]


def view(source: Results) -> View:
    """Read the results of all accuracy sweeps and compare them; what is missing is left out."""
    sweeps: dict[str, list[AccuracyResult]] = source.by_sweep("accuracy")
    points = [point for sweep, results in sweeps.items() for point in compare(sweep, results)]
    settings = [point.result.settings.model_dump() for point in points]
    importances = dict.fromkeys(importance_digest(run) for run in settings if run["importance"])
    models = dict.fromkeys(vlm_digest(run) for run in settings if run["embedded"])
    data = source.folder / "data"
    files = [data / f"importance-{digest}" / "importance.json" for digest in importances]
    curves = [data / f"vlm-{digest}" / "training.csv" for digest in models]
    return View(
        points,
        [ImportanceResult.model_validate_json(f.read_bytes()) for f in files if f.exists()],
        [_read_curve(path) for path in curves if path.exists()],
    )


def _read_curve(path: Path) -> list[dict[str, str]]:
    """Read the `training.csv` of an embedded model."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
