"""Finished searches of the same model family, whose line of memory is a good first guess.

A line only says where a search looks first. What it finds is certified by its own probes, so a run
has the same batch size with a neighbour, with another one, and with none: neighbours are never an
input of a rule, and a rerun is exact whatever else has finished by then.
"""

import math
from collections.abc import Iterator
from pathlib import Path

from scripts.lib.batch_size.memory_line import Line
from scripts.lib.config.accuracy import AccuracyRun
from scripts.lib.config.batch_size import BatchSizeSearch
from scripts.lib.config.ddp import DdpRun
from scripts.lib.config.runs import file_name
from scripts.lib.config.training import TrainingRun
from scripts.lib.results.batch_size import BatchSizeResult, MemoryModel, Neighbour
from scripts.lib.results.reading import read_result
from scripts.lib.schema.errors import InputError
from scripts.lib.units import MIB

Run = TrainingRun | DdpRun | AccuracyRun
# Settings that must agree for two runs to have nearly the same line.
FAMILY = {
    "training": (
        "d_model", "d_ff", "num_layers", "num_heads", "vocab", "mode", "precision",
        "attn_implementation",
    ),
    "ddp": ("model", "size", "vocab", "task", "precision", "dropout", "modes"),
    "accuracy": (
        "model", "embedded", "dataset", "max_new_tokens", "precision", "experts_implementation",
    ),
}  # fmt: skip
# Settings that may differ; a run that shares more of them is nearer.
BESIDE = {"accuracy": ("top_k", "num_active_blocks", "block_selection")}


def read_neighbour(path: str | Path, run: Run) -> Neighbour:
    """Return the line of a `batch_size.json` that the user names, scaled to `run`.

    Raises InputError when it is no such file, of another kind, or has no line that rises.
    """
    result = read_result(path, BatchSizeResult)
    if result.settings.kind != run.kind:
        raise InputError(
            f"--neighbour {path}: is of a run of kind {result.settings.kind}, not {run.kind}"
        )
    if not _has_line(result):
        raise InputError(f"--neighbour {path}: has no rising memory_model (status {result.status})")
    return _scaled(result, run)


def nearest_neighbour(folder: str | Path, run: Run, budget_method: str) -> Neighbour | None:
    """Return the line of the finished run of the family nearest to `run`, scaled.

    `folder` holds one folder a run. Files that cannot be read are passed over, and so is the run's
    own: there is none before its search.
    """
    found = [
        result
        for result in _results(folder, run)
        if _has_line(result)
        and result.budget_method == budget_method
        and _family(result.settings) == _family(run)
    ]
    if not found:
        return None
    return _scaled(min(found, key=lambda result: _distance(result, run)), run)


def line_of(neighbour: Neighbour | None) -> Line | None:
    """Line of a neighbour in bytes."""
    if neighbour is None:
        return None
    return Line(neighbour.line.intercept_mib * MIB, neighbour.line.slope_mib * MIB)


def _results(folder: str | Path, run: Run) -> Iterator[BatchSizeResult]:
    # The id of a run begins with the name of its model, so few files are opened.
    for path in sorted(Path(folder).glob(f"{file_name(run.model_size)}-*/batch_size.json")):
        try:
            yield read_result(path, BatchSizeResult)
        except InputError:
            continue


def _has_line(result: BatchSizeResult) -> bool:
    return result.memory_model is not None and result.memory_model.slope_mib > 0


def _family(run: Run) -> tuple:
    return (run.kind, *(getattr(run, name) for name in FAMILY[run.kind]), _search(run).workload)


def _distance(result: BatchSizeResult, run: Run) -> tuple[int, float, str]:
    other = result.settings
    beside = BESIDE.get(run.kind, ())
    if not (_length(run) and _length(other)):
        beside += ("max_crops",)
    differing = sum(getattr(other, name) != getattr(run, name) for name in beside)
    return differing, abs(math.log(_ratio(other, run))), result.run


def _scaled(result: BatchSizeResult, run: Run) -> Neighbour:
    line, ratio = result.memory_model, _ratio(result.settings, run)
    scaled = MemoryModel(intercept_mib=line.intercept_mib, slope_mib=line.slope_mib * ratio)
    return Neighbour(run=result.run, line=scaled)


def _ratio(other: Run, run: Run) -> float:
    """How much longer a sample of `run` is; its memory grows with that. 1 where it is unknown."""
    lengths = _length(run), _length(other)
    return lengths[0] / lengths[1] if all(lengths) else 1.0


def _length(run: Run) -> int | None:
    """Tokens of a sample, or crops of an image with its overview; None for the model's own."""
    if isinstance(run, AccuracyRun):
        return run.max_crops and run.max_crops + 1
    search = _search(run)
    return run.context_length + (search.max_new_tokens if search.workload == "generate" else 0)


def _search(run: Run) -> BatchSizeSearch:
    return run.batch_size_search or BatchSizeSearch()
