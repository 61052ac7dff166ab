"""Serving frameworks as data: what `config/frameworks.yaml` says, and the launch of one point.

A launch is a list of arguments, composed when a sweep is expanded and never passed through a
shell; what only the start of the server knows (port, device) stays open in it as `{port}`.
"""

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from scripts.lib.schema.base import StrictModel, Text
from scripts.lib.schema.errors import InputError
from scripts.lib.schema.problems import describe
from scripts.lib.schema.yaml_file import load_yaml

FRAMEWORKS = Path(__file__).parents[4] / "config" / "frameworks.yaml"

# Filled in when the server starts; the others when the sweep is expanded.
OPEN_FIELDS = frozenset({"model", "host", "port", "device", "config_file", "python"})
_FIELD = re.compile(r"\{(\w+)\}")

Arguments = list[Text]
DeviceKind = Literal["cpu", "cuda"]


class Launch(StrictModel):
    """How a point's server is started; all that the programs know of its framework."""

    command: Annotated[list[str], Field(min_length=1)]
    devices: list[DeviceKind] = Field(description="Devices that it runs on.")
    health: Text = Field(description="Path that answers 200 when the server is ready.")
    request: dict[str, Any] = Field({}, description="Fields added to every request.")
    config_file: dict[str, Any] | None = Field(
        None, description="Content of the file that `{config_file}` names."
    )
    # Not `bool`: left out where it does not apply, so that it is in no other framework's runs.
    plain_bind: Literal[True] | None = Field(
        None, description="It binds its port without SO_REUSEADDR: no reservation may stand."
    )


class Framework(StrictModel):
    """One framework of `config/frameworks.yaml`; its head explains the keys."""

    devices: Annotated[list[DeviceKind], Field(min_length=1)]
    command: Annotated[Arguments, Field(min_length=1)]
    ep: Arguments | None = None
    ep_spans_tp: bool = False
    dp_attn: Arguments | None = None
    mtp: Arguments | None = None
    draft_model: Arguments | None = None
    multi_gpu: bool = True
    precisions: dict[Text, Text] | None = None
    config_file: dict[str, Any] | None = None
    config_file_ep: dict[str, Any] = Field({})
    config_file_dp_attn: dict[str, Any] = Field({})
    config_file_mtp: dict[str, Any] = Field({})
    config_file_draft_model: dict[str, Any] = Field({})
    plain_bind: bool = False
    health: Text
    request: dict[str, Any] = Field({})


class UnsupportedError(Exception):
    """A point asks a framework for something that it cannot do; the text says what."""


@cache
def load_frameworks(path: str | Path = FRAMEWORKS) -> dict[str, Framework]:
    """Read the frameworks by name. Raises InputError with a line for each problem."""
    file = load_yaml(path)
    frameworks, problems = {}, []
    for name, data in file.data.items():
        try:
            frameworks[name] = Framework.model_validate(data)
        except ValidationError as error:
            problems += [
                f"{file.place((name, *keys))}: {message}"
                for keys, message in describe(error, Framework, data)
            ]
    if problems:
        raise InputError(*problems)
    return frameworks


def compose(
    settings: Mapping[str, Any],
    draft_model: str | None = None,
    container: str | None = None,
    frameworks: Mapping[str, Framework] | None = None,
) -> Launch:
    """Compose the launch of a point on one node from its settings.

    `container` (`apptainer`) runs it in the point's image.

    Raises UnsupportedError where the framework is unknown or cannot do what the point asks for,
    and InputError where a name would be taken for an option.
    """
    known = load_frameworks() if frameworks is None else frameworks
    name = settings["framework"]
    if name not in known:
        raise UnsupportedError(
            f"framework {name!r} is not in config/frameworks.yaml ({', '.join(known)})"
        )
    framework = known[name]
    asked = _asked(settings)
    _check(name, framework, settings, asked, draft_model)
    fields = _fields(framework, settings, draft_model)
    arguments = [*framework.command, *(a for option in asked for a in getattr(framework, option))]
    if container:
        fields["python"] = "python3"  # the image's own
    config_file = framework.config_file
    if config_file is not None:
        for option in asked:
            config_file = config_file | getattr(framework, f"config_file_{option}")
        config_file = _filled_tree(config_file, fields)
    return Launch(
        command=[
            *_container(container, settings["image"]),
            *(filled(argument, fields) for argument in arguments),
        ],
        devices=framework.devices,
        health=framework.health,
        request=framework.request,
        config_file=config_file,
        plain_bind=framework.plain_bind or None,
    )


def request_fields(name: str) -> dict[str, Any]:
    """Fields that a framework wants in every request; none for one that is not known."""
    known = load_frameworks()
    return known[name].request if name in known else {}


@cache
def depends_on_concurrency(name: str) -> bool:
    """Whether a framework is started otherwise for each concurrency: `{conc}` is in its line."""
    known = load_frameworks()
    return name in known and "{conc}" in known[name].model_dump_json()


def filled(argument: str, fields: Mapping[str, Any]) -> str:
    """Fill the `{field}`s of one argument; others, such as the braces of JSON, stay.

    A value goes in as it is and stays within its argument, whatever characters it has.
    """
    return _FIELD.sub(lambda found: str(fields.get(found[1], found[0])), argument)


def _asked(settings: Mapping[str, Any]) -> list[str]:
    """Names of the options that a point asks for beyond tensor parallelism."""
    spec_decoding = settings.get("spec_decoding", "none")
    asked = {"ep": settings["ep"] > 1, "dp_attn": settings["dp_attn"]}
    asked[spec_decoding] = spec_decoding != "none"
    return [option for option, wanted in asked.items() if wanted]


def _check(
    name: str,
    framework: Framework,
    settings: Mapping[str, Any],
    asked: list[str],
    draft_model: str | None,
) -> None:
    tp, ep, precision = settings["tp"], settings["ep"], settings["precision"]
    if tp > 1 and not framework.multi_gpu:
        raise UnsupportedError(f"{name} serves on one device, tp is {tp}")
    for option in asked:
        if getattr(framework, option) is None:
            key = {"dp_attn": "dp-attn"}.get(option, option)
            told = f"spec-decoding {option}" if option in ("mtp", "draft_model") else key
            raise UnsupportedError(f"{name} has no option for {told}")
    if framework.ep_spans_tp and ep not in (1, tp):
        raise UnsupportedError(f"{name} spreads experts over all of tp ({tp}) or not, ep is {ep}")
    if framework.precisions is not None and precision not in framework.precisions:
        allowed = ", ".join(framework.precisions)
        raise UnsupportedError(f"{name} has no precision {precision} ({allowed})")
    if "draft_model" in asked and draft_model is None:
        raise UnsupportedError("spec-decoding draft_model needs draft_model in the sweep's server")
    for key, value in (("model", settings["model"]), ("draft_model", draft_model)):
        if value and value.startswith("-"):
            raise InputError(
                f"{key}: must not begin with '-', which {name} takes for an option, got {value!r}"
            )


def _container(container: str | None, image: str) -> list[str]:
    """Arguments before a command that runs in an image; its registry may end with '#' or '/'."""
    if container == "apptainer":
        return ["apptainer", "exec", "--nv", f"docker://{image.replace('#', '/', 1)}"]
    return []


def _fields(
    framework: Framework, settings: Mapping[str, Any], draft_model: str | None
) -> dict[str, Any]:
    tp, dp_attn = settings["tp"], settings["dp_attn"]
    return {
        "tp": tp,
        "ep": settings["ep"],
        "max_model_len": settings["max_model_len"],
        "conc": settings.get("conc"),
        # Data-parallel attention: each GPU has whole heads, and requests of its own.
        "attention_tp": 1 if dp_attn else tp,
        "attention_dp": tp if dp_attn else 1,
        "dtype": (framework.precisions or {}).get(settings["precision"], "auto"),
        "draft_model": draft_model,
        "draft_model_json": json.dumps(draft_model),
    }


def _filled_tree(tree: Any, fields: Mapping[str, Any]) -> Any:
    if isinstance(tree, dict):
        return {key: _filled_tree(value, fields) for key, value in tree.items()}
    return filled(tree, fields) if isinstance(tree, str) else tree
