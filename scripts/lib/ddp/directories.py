"""Run directories that were made by hand: what they are, and two of them side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from scripts.lib.config.ddp import DdpRun
from scripts.lib.schema.errors import InputError
from scripts.lib.schema.yaml_file import load_yaml

if TYPE_CHECKING:
    from scripts.lib.results.ddp import DdpResult

# What two runs may differ in and still be compared.
_FREE = {"modes", "seeds", "checkpoint_steps", "device", "block_steps"}


def read_settings(folder: str | Path) -> tuple[dict[str, Any], str, int]:
    """Read `config.yaml` of a run directory: the settings of the run, the mode and the seed.

    Raises InputError where there is none.
    """
    path = Path(folder, "config.yaml")
    if not path.exists():
        raise InputError(f"{folder}: is no run directory: it has no config.yaml")
    settings = dict(load_yaml(path).data)
    try:
        return settings, settings.pop("mode"), settings.pop("seed")
    except KeyError as error:
        raise InputError(f"{path}: has no {error.args[0]}") from None


def metrics_of(folders: Sequence[str | Path]) -> "DdpResult":
    """Compare run directories of different modes, as settings and metrics of one run.

    Raises InputError when one is not whole, two are of the same mode, or they differ in a setting
    that makes them no comparison.
    """
    from scripts.lib.ddp.outcome import collect_metrics
    from scripts.lib.results.ddp import DdpResult

    found = {}
    for folder in folders:
        settings, mode, seed = read_settings(folder)
        if mode in found:
            raise InputError(f"{folder}: is of mode {mode}, like {found[mode][0]}")
        found[mode] = (folder, settings, seed)
    (first, settings, seed), *others = found.values()
    for folder, other, _ in others:
        for key in settings.keys() - _FREE:
            if other.get(key) != settings[key]:
                raise InputError(
                    f"{folder}: {key} is {other.get(key)}, but {settings[key]} in {first}"
                )
    settings |= {"modes": list(found), "seeds": [seed]}
    try:
        run = DdpRun.model_validate(settings)
    except ValidationError as error:
        raise InputError(f"{first}/config.yaml: {error.errors()[0]['msg']}") from None
    metrics = collect_metrics(
        run, lambda mode, _: Path(found[mode][0]), device=run.device, backend="", pinned=False,
        largest_local_batch=None, cost_coefficients=None, warnings=[],
    )  # fmt: skip
    return DdpResult.model_construct(settings=run, metrics=metrics)
