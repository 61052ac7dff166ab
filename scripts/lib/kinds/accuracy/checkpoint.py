"""The embedded model of a run, as its programs are given it."""

from pathlib import Path

from scripts.lib.kinds.accuracy.config import AccuracyRun
from scripts.lib.kinds.accuracy.measurement import EMBEDDED
from scripts.lib.schema.errors import InputError


def checkpoint_of(run: AccuracyRun, given: str | None) -> Path | None:
    """Folder of the embedded model; None for others. Raises InputError where it is needed."""
    if run.model != EMBEDDED:
        return None
    if not given:
        raise InputError("--checkpoint: required, because the run says model: embedded")
    path = Path(given)
    return path.parent if path.suffix == ".json" else path
