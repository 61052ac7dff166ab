"""Finished searches of the same model family, whose line of memory is a good first guess.

A line only says where a search looks first. What it finds is certified by its own probes, so a run
has the same batch size with a neighbour, with another one, and with none: neighbours are never an
input of a rule, and a rerun is exact whatever else has finished by then.
"""

import math
from collections.abc import Iterator
from pathlib import Path

from scripts.lib.batch_size.memory_line import Line
from scripts.lib.batch_size.probing import Probing
from scripts.lib.batch_size.result import BatchSizeResult, MemoryModel, Neighbour
from scripts.lib.devices.units import MIB
from scripts.lib.results.reading import read_result
from scripts.lib.schema.errors import InputError
from scripts.lib.sweeps.names import file_name
from scripts.lib.sweeps.run import ProbedRun


def read_neighbour(path: str | Path, run: ProbedRun, probing: Probing) -> Neighbour:
    """Return the line of a `batch_size.json` that the user names, scaled to `run`.

    Raises InputError when it is no such file, of another kind, or has no line that rises.
    """
    result = read_result(path, BatchSizeResult)
    if result.kind != run.kind:
        raise InputError(f"--neighbour {path}: is of a run of kind {result.kind}, not {run.kind}")
    if not _has_line(result):
        raise InputError(f"--neighbour {path}: has no rising memory_model (status {result.status})")
    return _scaled(result, run, probing)


def nearest_neighbour(
    folder: str | Path, run: ProbedRun, probing: Probing, budget_method: str
) -> Neighbour | None:
    """Return the line of the finished run of the family nearest to `run`, scaled.

    `folder` holds one folder a run. Files that cannot be read are passed over, and so is the run's
    own: there is none before its search.
    """
    found = [
        result
        for result in _results(folder, probing.model(run))
        if result.kind == run.kind
        and _has_line(result)
        and result.budget_method == budget_method
        and probing.family(_run(result, run)) == probing.family(run)
    ]
    if not found:
        return None
    return _scaled(min(found, key=lambda result: _distance(result, run, probing)), run, probing)


def line_of(neighbour: Neighbour | None) -> Line | None:
    """Line of a neighbour in bytes."""
    if neighbour is None:
        return None
    return Line(neighbour.line.intercept_mib * MIB, neighbour.line.slope_mib * MIB)


def _results(folder: str | Path, model: str) -> Iterator[BatchSizeResult]:
    # The id of a run begins with the name of its model, so few files are opened.
    for path in sorted(Path(folder).glob(f"{file_name(model)}-*/batch_size.json")):
        try:
            yield read_result(path, BatchSizeResult)
        except InputError:
            continue


def _has_line(result: BatchSizeResult) -> bool:
    return result.memory_model is not None and result.memory_model.slope_mib > 0


def _run(result: BatchSizeResult, run: ProbedRun) -> ProbedRun:
    return result.run_settings(type(run))


def _distance(result: BatchSizeResult, run: ProbedRun, probing: Probing) -> tuple[int, float, str]:
    other = _run(result, run)
    pairs = zip(probing.near(other), probing.near(run), strict=True)
    differing = sum(others != own for others, own in pairs)
    return differing, abs(math.log(_ratio(other, run, probing))), result.run


def _scaled(result: BatchSizeResult, run: ProbedRun, probing: Probing) -> Neighbour:
    line, ratio = result.memory_model, _ratio(_run(result, run), run, probing)
    scaled = MemoryModel(intercept_mib=line.intercept_mib, slope_mib=line.slope_mib * ratio)
    return Neighbour(run=result.run, line=scaled)


def _ratio(other: ProbedRun, run: ProbedRun, probing: Probing) -> float:
    """How much longer a sample of `run` is; its memory grows with that. 1 where it is unknown."""
    own, others = probing.sample_length(run), probing.sample_length(other)
    return own / others if own and others else 1.0
