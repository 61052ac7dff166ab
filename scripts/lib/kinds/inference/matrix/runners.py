"""The runner file: the nodes of each runner type."""

import difflib
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, RootModel, ValidationError

from scripts.lib.schema.base import Text, no_repeats
from scripts.lib.schema.errors import InputError
from scripts.lib.schema.problems import describe
from scripts.lib.schema.yaml_file import read_yaml

Nodes = Annotated[list[Text], Field(min_length=1), AfterValidator(no_repeats)]


class Runners(RootModel[dict[Text, Nodes]]):
    """Names of the nodes of each runner type."""

    model_config = ConfigDict(strict=True, frozen=True)

    def nodes(self, runner_type: str) -> list[str]:
        """Nodes of a runner type; raises InputError where the file does not know it."""
        problem = self.problem(runner_type)
        if problem:
            raise InputError(problem)
        return self.root[runner_type]

    def problem(self, runner_type: str) -> str | None:
        """Say what is wrong with the name of a runner type, or None."""
        if runner_type in self.root:
            return None
        return unknown("runner type", runner_type, list(self.root))


def load_runners(path: str | Path) -> Runners:
    """Read a runner file; raises InputError with a line for each problem."""
    file = read_yaml(path)
    problems = list(file.repeated)
    try:
        runners = Runners.model_validate(file.data)
    except ValidationError as error:
        problems += [
            f"{file.place(keys)}: {message}"
            for keys, message in describe(error, Runners, file.data)
        ]
    if problems:
        raise InputError(*problems)
    return runners


def unknown(what: str, name: str, allowed: list[str]) -> str:
    """Say that `name` is none of `allowed`, with the closest one."""
    close = difflib.get_close_matches(name, allowed, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"unknown {what} {name!r}{hint} (allowed: {', '.join(allowed)})"
