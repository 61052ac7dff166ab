"""Load master files and the runner file, all problems of all of them at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from scripts.lib.kinds.inference.matrix.master import Entry, entry_model
from scripts.lib.kinds.inference.matrix.runners import Runners, load_runners
from scripts.lib.schema.collector import paused_collector
from scripts.lib.schema.errors import InputError
from scripts.lib.schema.problems import describe
from scripts.lib.schema.yaml_file import YamlFile, read_yaml


@dataclass(frozen=True)
class Master:
    """Entries by name, in the order of the files and of each file, and the runners if given.

    `places` has `file:line` of each entry, for messages.
    """

    entries: dict[str, Entry]
    runners: Runners | None
    places: dict[str, str]


@paused_collector()
def load_master(
    config_files: Sequence[str | Path], runner_config: str | Path | None = None
) -> Master:
    """Load master files in the order given, and check their runners if there is a runner file.

    Raises InputError with a line for each problem of any file: file, line, entry, key, what is
    allowed. A name that stands twice, in one file or across files, is such a problem.
    """
    problems: list[str] = []
    master = Master({}, _runners(runner_config, problems), {})
    for path in config_files:
        try:
            _add_file(master, read_yaml(path), problems)
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(*problems)
    return master


def _runners(path: str | Path | None, problems: list[str]) -> Runners | None:
    try:
        return None if path is None else load_runners(path)
    except InputError as error:
        problems += error.problems
        return None


def _add_file(master: Master, file: YamlFile, problems: list[str]) -> None:
    problems += file.repeated
    if not file.data:
        problems.append(f"{file.path}:1: must have at least one entry")
    for name, data in file.data.items():
        place = file.place((name,))
        if not isinstance(name, str) or not name.isprintable() or not name.strip():
            problems.append(f"{place}: the name of an entry must be text")
        elif name in master.places:
            problems.append(f"{place}: this name stands already in {master.places[name]}")
        master.places.setdefault(name, f"{file.path}:{file.line_of((name,))}")
        _add_entry(master, file, name, data, problems)


def _add_entry(master: Master, file: YamlFile, name: str, data: Any, problems: list[str]) -> None:
    model = entry_model(data)
    try:
        entry = master.entries[name] = model.model_validate(data)
    except ValidationError as error:
        problems += [
            f"{file.place((name, *keys))}: {message}"
            for keys, message in describe(error, model, data)
        ]
        return
    unknown = master.runners and master.runners.problem(entry.runner)
    if unknown:
        problems.append(f"{file.place((name, 'runner'))}: {unknown}")
