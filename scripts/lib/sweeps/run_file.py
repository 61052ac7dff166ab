"""Read `run.json`: the id of a run and its resolved settings."""

import json
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import TypeVar

from pydantic import ValidationError

from scripts.lib.schema.errors import InputError
from scripts.lib.schema.problems import describe
from scripts.lib.sweeps.identity import completed
from scripts.lib.sweeps.run import RunSettings

R = TypeVar("R", bound=RunSettings)


def read_run_of(path: str | PurePath, models: Mapping[str, type[R]]) -> tuple[str, R]:
    """Read a run file: the run's id and its settings as the model of its kind in `models`.

    Settings that the file leaves out have the defaults of the kind's base.

    Raises InputError when the file cannot be read, is not such JSON, is of a kind that is not in
    `models`, or the settings do not fit.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError:
        text = ""
    return parse_run(text, path, models)


def parse_run(text: str, path: str | PurePath, models: Mapping[str, type[R]]) -> tuple[str, R]:
    """Parse the text of a run file, as `read_run_of` does; `path` stands in messages."""
    try:
        data = json.loads(text)
        settings, run = data["settings"], str(data["run"])
        kind = str(settings["kind"])
    except (ValueError, KeyError, TypeError):
        raise InputError(
            f"{path}: not a run file: JSON with `run` and `settings`, whose `kind` is one of "
            f"{', '.join(models)}"
        ) from None
    if kind not in models:
        raise InputError(f"{path}: is of kind {kind}, not {', '.join(models)}")
    model = models[kind]
    try:
        return run, model.model_validate(completed(model, settings))
    except ValidationError as error:
        problems = describe(error, model, settings)
        raise InputError(
            *(f"{path}: settings.{'.'.join(map(str, keys))}: {text}" for keys, text in problems)
        ) from None
