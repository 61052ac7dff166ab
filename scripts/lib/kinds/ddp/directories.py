"""Run directories that were made by hand: what they are, and two of them side by side."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from scripts.lib.kinds.ddp.config import DdpRun
from scripts.lib.schema.errors import InputError
from scripts.lib.schema.problems import describe, dotted
from scripts.lib.schema.yaml_file import load_yaml

if TYPE_CHECKING:
    from scripts.lib.kinds.ddp.result import DdpResult

# What two runs may differ in and still be compared.
_FREE = {"modes", "seeds", "checkpoint_steps", "device", "block_steps"}


@dataclass(frozen=True)
class Directory:
    """What `config.yaml` of a run directory says: the settings of the run, and whose it is."""

    settings: dict[str, Any]
    mode: str
    seed: int
    max_tokens: int | None


def read_directory(folder: str | Path) -> Directory:
    """Read `config.yaml` of a run directory. Raises InputError where it is missing or not whole."""
    path = Path(folder, "config.yaml")
    if not path.exists():
        raise InputError(f"{folder}: is no run directory: it has no config.yaml")
    settings = dict(load_yaml(path).data)
    try:
        mode, seed = settings.pop("mode"), settings.pop("seed")
        found = Directory(settings, mode, seed, settings.pop("max_tokens", None))
        whole = settings | {"modes": [mode], "seeds": [seed]}
        DdpRun.model_validate(whole)
    except KeyError as error:
        raise InputError(f"{path}: has no {error.args[0]}") from None
    except ValidationError as error:
        problems = describe(error, DdpRun, whole)
        raise InputError(*(f"{path}: {dotted(keys)}: {text}" for keys, text in problems)) from None
    return found


def differences(own: Any, other: Any, keys: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield the innermost keys, dotted, in which two settings differ, and both values."""
    if isinstance(own, dict) and isinstance(other, dict):
        for key in dict.fromkeys([*own, *other]):
            inner = f"{keys}.{key}" if keys else key
            yield from differences(own.get(key), other.get(key), inner)
    elif own != other:
        yield keys, own, other


def metrics_of(folders: Sequence[str | Path]) -> "DdpResult":
    """Compare run directories of different modes, as settings and metrics of one run.

    Raises InputError when one is not whole, two are of the same mode, or they differ in a setting
    that makes them no comparison.
    """
    from scripts.lib.kinds.ddp.outcome import collect_metrics
    from scripts.lib.kinds.ddp.records import read_text_summary
    from scripts.lib.kinds.ddp.result import DdpResult

    found: dict[str, tuple[str | Path, Directory]] = {}
    for folder in folders:
        directory = read_directory(folder)
        if directory.mode in found:
            raise InputError(
                f"{folder}: is of mode {directory.mode}, like {found[directory.mode][0]}"
            )
        found[directory.mode] = (folder, directory)
    (first, directory), *others = found.values()
    for folder, other in others:
        for key, own, its in differences(directory.settings, other.settings):
            if key not in _FREE:
                raise InputError(f"{folder}: {key} is {its}, but {own} in {first}")
        if other.max_tokens != directory.max_tokens:
            raise InputError(
                f"{folder}: max_tokens is {other.max_tokens}, but {directory.max_tokens} in {first}"
            )
        if read_text_summary(Path(folder)) != read_text_summary(Path(first)):
            raise InputError(f"{folder}: its text is another one than that of {first}")
    run = DdpRun.model_validate(
        directory.settings | {"modes": list(found), "seeds": [directory.seed]}
    )
    metrics = collect_metrics(
        run, lambda mode, _: Path(found[mode][0]), backend="", pinned=False,
        largest_local_batch=None, cost_coefficients=None, warnings=[],
    )  # fmt: skip
    return DdpResult.model_construct(settings=run, metrics=metrics)
