"""Finished searches of the same model family, whose line of memory is a good first guess.

A line only says where a search looks first. What it finds is certified by its own probes, so a run
has the same batch size with a neighbour, with another one, and with none: neighbours are never an
input of a rule, and a rerun is exact whatever else has finished by then.
"""

import math
from collections.abc import Iterator
from pathlib import Path

from scripts.lib.batch_size.memory_line import Line
from scripts.lib.config.batch_size import BatchSizeSearch
from scripts.lib.config.training import TrainingRun
from scripts.lib.results.batch_size import BatchSizeResult, MemoryModel, Neighbour
from scripts.lib.results.reading import read_result
from scripts.lib.schema.errors import InputError
from scripts.lib.units import MIB

# Settings that must agree for two runs to have nearly the same line; the context length scales it.
FAMILY = (
    "kind", "d_model", "d_ff", "num_layers", "num_heads", "vocab", "mode", "precision",
    "attn_implementation",
)  # fmt: skip


def read_neighbour(path: str | Path, run: TrainingRun) -> Neighbour:
    """Return the line of a `batch_size.json` that the user names, scaled to `run`.

    Raises InputError when it is no such file, or has no line that rises.
    """
    result = read_result(path, BatchSizeResult)
    if not _has_line(result):
        raise InputError(f"--neighbour {path}: has no rising memory_model (status {result.status})")
    return _scaled(result, run)


def nearest_neighbour(folder: str | Path, run: TrainingRun, budget_method: str) -> Neighbour | None:
    """Return the line of the finished run of the family nearest in context length, scaled.

    `folder` holds one folder a run. Files that cannot be read are passed over, and so is the run's
    own: there is none before its search.
    """
    found = [
        result
        for result in _results(folder, run)
        if _has_line(result)
        and isinstance(result.settings, TrainingRun)
        and result.budget_method == budget_method
        and _family(result.settings) == _family(run)
    ]
    if not found:
        return None
    nearest = min(
        found, key=lambda result: (abs(math.log(_ratio(result.settings, run))), result.run)
    )
    return _scaled(nearest, run)


def line_of(neighbour: Neighbour | None) -> Line | None:
    """Line of a neighbour in bytes."""
    if neighbour is None:
        return None
    return Line(neighbour.line.intercept_mib * MIB, neighbour.line.slope_mib * MIB)


def _results(folder: str | Path, run: TrainingRun) -> Iterator[BatchSizeResult]:
    # The id of a run begins with the name of its size, so few files are opened.
    for path in sorted(Path(folder).glob(f"{run.model_size}-*/batch_size.json")):
        try:
            yield read_result(path, BatchSizeResult)
        except InputError:
            continue


def _has_line(result: BatchSizeResult) -> bool:
    return result.memory_model is not None and result.memory_model.slope_mib > 0


def _family(run: TrainingRun) -> tuple:
    return (*(getattr(run, name) for name in FAMILY), _search(run).workload)


def _scaled(result: BatchSizeResult, run: TrainingRun) -> Neighbour:
    line, ratio = result.memory_model, _ratio(result.settings, run)
    scaled = MemoryModel(intercept_mib=line.intercept_mib, slope_mib=line.slope_mib * ratio)
    return Neighbour(run=result.run, line=scaled)


def _ratio(other: TrainingRun, run: TrainingRun) -> float:
    """Tokens of a sample of `run` for each one of `other`: memory of a sample grows with them."""
    return _tokens(run) / _tokens(other)


def _tokens(run: TrainingRun) -> int:
    search = _search(run)
    return run.context_length + (search.max_new_tokens if search.workload == "generate" else 0)


def _search(run: TrainingRun) -> BatchSizeSearch:
    return run.batch_size_search or BatchSizeSearch()
