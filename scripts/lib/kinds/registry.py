"""All kinds by name. A new kind adds one line."""

from pathlib import PurePath
from typing import Any

from scripts.lib.kinds.accuracy.kind import Accuracy
from scripts.lib.kinds.base import Kind
from scripts.lib.kinds.communication.kind import Communication
from scripts.lib.kinds.ddp.kind import Ddp
from scripts.lib.kinds.inference.kind import Inference
from scripts.lib.kinds.training.kind import Training
from scripts.lib.sweeps.run import RunSettings
from scripts.lib.sweeps.run_file import read_run_of

KINDS: dict[str, Kind[Any, Any]] = {
    kind.name: kind
    for kind in (
        Training(),
        Inference(),
        Ddp(),
        Accuracy(),
        Communication(),
    )
}


def load_run(path: str | PurePath) -> tuple[str, RunSettings]:
    """Read `run.json` of any kind. Raises InputError as `Kind.load_run` does."""
    return read_run_of(path, {name: kind.run for name, kind in KINDS.items()})
