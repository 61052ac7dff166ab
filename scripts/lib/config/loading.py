"""Load configuration files into the model, with one clear line for each problem."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from scripts.lib.config.workflow import WorkflowConfig
from scripts.lib.schema.errors import InputError
from scripts.lib.schema.problems import Keys, describe, dotted
from scripts.lib.schema.yaml_file import YamlFile, load_yaml
from scripts.lib.sweeps.sizes import SIZES

CONFIG_DIR = Path(__file__).parents[3] / "config"
DEFAULT_CONFIG = CONFIG_DIR / "config.yaml"


def load_config(
    paths: Sequence[str | Path] = (), overrides: Sequence[str] | None = None
) -> WorkflowConfig:
    """Load and check a configuration.

    `paths` are merged in order, mappings key by key and everything else replaced; without one the
    default `config/config.yaml` is taken. `overrides` come last: the words of Snakemake's
    `--config`, each NAME=VALUE with a value in YAML, so that numbers and booleans keep their type.
    The table of sizes in `config/sizes.yaml` lies below them all.

    Raises InputError with a line for each problem: file, line, key, what is allowed.
    """
    sizes = load_yaml(SIZES)
    files = [load_yaml(path) for path in paths] or [load_yaml(DEFAULT_CONFIG)]
    layers = [_override(word) for word in overrides or ()]
    data: dict[str, Any] = {"sizes": sizes.data}
    for layer in (*(file.data for file in files), *layers):
        data = _merged(data, layer)
    above: dict[str, Any] = {}
    for layer in layers:
        above = _merged(above, layer)
    try:
        return WorkflowConfig.model_validate(data)
    except ValidationError as error:
        problems = describe(error, WorkflowConfig, data)
        raise InputError(
            *(f"{_place([sizes, *files], keys, above)}: {message}" for keys, message in problems)
        ) from None


def load_module_config(data: Mapping[str, Any]) -> WorkflowConfig:
    """Check the configuration that another workflow gives to sweepmake as its module.

    Raises InputError with a line for each problem: key, what is allowed.
    """
    merged = _merged({"sizes": load_yaml(SIZES).data}, _plain(data))
    try:
        return WorkflowConfig.model_validate(merged)
    except ValidationError as error:
        problems = describe(error, WorkflowConfig, merged)
        raise InputError(
            *(f"config of the module: {dotted(keys)}: {message}" for keys, message in problems)
        ) from None


def _plain(value: Any) -> Any:
    """Return a value of mappings and lists of any kind as one of plain ones."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def _override(word: str) -> dict[str, Any]:
    """Read one word of `--config`. Raises InputError where its value is not YAML."""
    name, _, text = word.partition("=")
    try:
        return {name: yaml.safe_load(text)}
    except yaml.YAMLError:
        raise InputError(f"--config: {name}: its value is not YAML: {text}") from None


def with_places(error: InputError, paths: Sequence[str | Path] = ()) -> InputError:
    """Put `file:line: ` before problems of the expansion, which know only their keys.

    `paths` as for `load_config`. A problem that begins with no key of the files stays as it is.
    """
    try:
        files = [load_yaml(path) for path in paths] or [load_yaml(DEFAULT_CONFIG)]
    except InputError:  # which is what `error` tells
        return error
    return InputError(*(_with_place(problem, files) for problem in error.problems))


def _with_place(problem: str, files: list[YamlFile]) -> str:
    named, separator, message = problem.partition(": ")
    first, *rest = named.split(".")
    if first != "sweeps" or not separator:
        return problem
    for file in reversed(files):
        sweeps = file.data.get("sweeps")
        # Names of sweeps may have dots.
        for end in range(len(rest), 0, -1):
            name = ".".join(rest[:end])
            if isinstance(sweeps, Mapping) and name in sweeps:
                line = file.line_of(("sweeps", name, *rest[end:]))
                return f"{file.path}:{line}: {named}: {message}"
    return problem


def _merged(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def _place(files: list[YamlFile], keys: Keys, overrides: Mapping[str, Any]) -> str:
    """`file:line: dotted.key` of the last file that has most of `keys`."""
    if 0 < _depth(overrides, keys) >= max(_depth(file.data, keys) for file in files):
        return f"--config: {dotted(keys)}"
    file = max(reversed(files), key=lambda file: _depth(file.data, keys))
    return file.place(keys)


def _depth(data: Any, keys: Keys) -> int:
    key: Any
    for depth, key in enumerate(keys):
        if (isinstance(data, Mapping) and key in data) or (
            isinstance(data, list) and isinstance(key, int) and key < len(data)
        ):
            data = data[key]
        else:
            return depth
    return len(keys)
