"""Runs: what a configuration expands to, each with an identity of its own settings only."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from scripts.lib.config.workflow import WorkflowConfig
from scripts.lib.kinds.registry import KINDS
from scripts.lib.schema.collector import paused_collector
from scripts.lib.schema.errors import InputError
from scripts.lib.sweeps.batches import batch_slices
from scripts.lib.sweeps.identity import id_of, identity_of

# What Snakemake matches run ids with; a list of all ids would be slow.
RUN_PATTERN = r"[\w.-]+-[0-9a-f]{8}"


@dataclass(frozen=True, slots=True)
class Run:
    """One configuration to measure.

    `id` is a readable name and 8 hex digits of the SHA-256 of `identity`, the canonical JSON text
    of the settings that differ from the kind's base (see `sweeps.identity`). It depends on nothing
    else, neither the sweep that names the run nor its place there. `settings` is the JSON text of
    all resolved settings.
    """

    id: str
    kind: str
    settings: str
    identity: str

    @property
    def json(self) -> str:
        """Content of `run.json`, the only thing that programs read of the configuration."""
        return f'{{"run": "{self.id}", "settings": {self.identity}}}'


@dataclass(frozen=True, slots=True)
class Expansion:
    """All runs by id, and the ids of each sweep in its order.

    `notes` are lines for the user about what was left out: duplicates. `selected` are the batches
    that a call is restricted to, all without it.
    """

    runs: dict[str, Run]
    sweeps: dict[str, list[str]]
    max_batch_size: int
    notes: tuple[str, ...] = ()
    selected: tuple[range, ...] | None = None

    def batches(self, sweep: str) -> list[list[str]]:
        """Cut a sweep's run ids into batches of at most `max_batch_size`, in order."""
        ids = self.sweeps[sweep]
        return [ids[part] for part in batch_slices(len(ids), self.max_batch_size)]

    def selected_batches(self, sweep: str) -> list[int]:
        """Numbers of a sweep's batches that the call is restricted to; all without a selection."""
        numbers = range(len(self.batches(sweep)))
        if self.selected is None:
            return list(numbers)
        return [number for number in numbers if any(number in part for part in self.selected)]


@paused_collector()
def expand(config: WorkflowConfig) -> Expansion:
    """Expand the sweeps into runs; sweeps that name the same run share it.

    Raises InputError with a line for each problem of a file that a sweep names, for each sweep
    that has no run, and where two different runs would have the same id.
    """
    runs: dict[str, Run] = {}
    sweeps: dict[str, list[str]] = {}
    notes, problems = [], []
    for name, sweep in config.sweeps.items():
        try:
            ids = [_add(runs, settings) for settings in sweep.runs(config.sizes)]
        except InputError as error:
            # Entries written in the sweep itself are told by their place in it.
            problems += [
                f"sweeps.{name}.{problem}" if problem.startswith("entries.") else problem
                for problem in error.problems
            ]
            continue
        if not ids:
            problems.append(f"sweeps.{name}: nothing is left by: {_given(sweep)}")
        sweeps[name] = list(dict.fromkeys(ids))
        notes += [f"sweeps.{name}: {note}" for note in sweep.notes()]
        duplicates = len(ids) - len(sweeps[name])
        if duplicates:
            notes.append(f"sweeps.{name}: removed {duplicates} exact duplicates")
    if problems:
        raise InputError(*dict.fromkeys(problems))
    expansion = Expansion(
        runs, sweeps, config.max_batch_size, tuple(notes), _selected(config.batches)
    )
    if not any(expansion.selected_batches(sweep) for sweep in sweeps):
        last = max(len(expansion.batches(sweep)) for sweep in sweeps) - 1
        raise InputError(f"batches: no sweep has the batches {config.batches}, only 0 to {last}")
    return expansion


def run_id(settings: Mapping[str, Any]) -> str:
    """Return the readable name and the hash of a run's settings, of which defaults are no part.

    Any order of keys gives the same id.
    """
    return id_of(KINDS[settings["kind"]].run, settings)


def _add(runs: dict[str, Run], settings: dict[str, Any]) -> str:
    identity = _identity(settings)
    run = Run(
        run_id(settings),
        settings["kind"],
        json.dumps(settings),
        json.dumps(identity, sort_keys=True),
    )
    known = runs.setdefault(run.id, run)
    if known.identity != run.identity:
        raise InputError(
            f"two different runs have the id {run.id}; change a setting that its name shows"
        )
    return run.id


def _identity(settings: Mapping[str, Any]) -> dict[str, Any]:
    return identity_of(KINDS[settings["kind"]].run, settings)


def _selected(batches: str | int | None) -> tuple[range, ...] | None:
    if batches is None:
        return None
    ends = (part.partition("-") for part in str(batches).split(","))
    return tuple(range(int(first), int(last or first) + 1) for first, _, last in ends)


def _given(sweep: BaseModel) -> str:
    """Write the settings of a sweep that decide which runs it has."""
    given = sweep.model_dump(exclude_defaults=True, exclude={"kind", "description", "entries"})
    return ", ".join(f"{key} {value}" for key, value in given.items())
