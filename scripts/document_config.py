"""Generate config/schema.json, config/README.md and config/identity.json from the models.

python -m scripts.document_config            writes them
python -m scripts.document_config --check    fails if one is not up to date
"""

import argparse
import json
import types
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from scripts.lib.config.loading import CONFIG_DIR
from scripts.lib.config.workflow import WorkflowConfig
from scripts.lib.kinds.registry import KINDS
from scripts.lib.results.files import write_text
from scripts.lib.runtime.program import new_parser, run_program
from scripts.lib.schema.errors import InputError
from scripts.lib.sweeps.identity import BASE_FILE, load_bases, new_defaults

HEAD = """\
# Settings

Generated from the models in `scripts/lib` by `python -m scripts.document_config`; edit the
descriptions there. `schema.json` beside this file lets an editor complete and check a configuration
that begins with `# yaml-language-server: $schema=schema.json`.

A configuration is a YAML file: `config/config.yaml` unless `--configfile FILE` names another. Files
given together are merged key by key. Model sizes come from `sizes.yaml`; a configuration's own
`sizes:` adds lines. Values are not converted: `"4"` is no number. Unknown keys are refused.

Where a type says *or a list*, the key is an axis: the runs of a sweep are the product of its axes.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """CLI entry point."""
    parser = new_parser("scripts.document_config", __doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail on a difference")
    return run_program(parser, _execute, argv)


def _execute(arguments: argparse.Namespace) -> dict[str, Any]:
    files = {
        CONFIG_DIR / "schema.json": schema(),
        CONFIG_DIR / "README.md": readme(),
        BASE_FILE: bases(),
    }
    stale = [path for path, text in files.items() if not path.exists() or path.read_text() != text]
    if arguments.check and stale:
        raise InputError(
            *(f"{path}: not up to date; run python -m scripts.document_config" for path in stale)
        )
    for path in stale:
        write_text(path, files[path])
    return {"written": [path.name for path in stale]}


def schema() -> str:
    """JSON schema of a configuration file."""
    return json.dumps(WorkflowConfig.model_json_schema(), indent=1) + "\n"


def bases() -> str:
    """Return the bases of run ids with the defaults of new settings added and none changed."""
    known = load_bases() if BASE_FILE.exists() else {}
    stated = {}
    for name, kind in KINDS.items():
        base = known.get(name, {})
        stated[name] = base | new_defaults(kind.run, base)
    return json.dumps(stated, indent=1) + "\n"


def readme() -> str:
    """Page with a table of settings for each model of the configuration."""
    sections = [HEAD]
    for path, model in _models("", WorkflowConfig, set()):
        lines = [f"## {path or 'Top level'}", "", _doc(model), ""]
        lines += ["| setting | type | default | |", "| --- | --- | --- | --- |"]
        lines += [_line(name, field) for name, field in _ordered(model)]
        sections.append("\n".join(lines) + "\n")
    return "\n".join(sections)


def _models(
    path: str, model: type[BaseModel], seen: set[type]
) -> Iterator[tuple[str, type[BaseModel]]]:
    """The model and those below it, each with the path of keys that leads to it."""
    if model in seen:
        return
    seen.add(model)
    yield f"`{path}`" if path else "", model
    for name, field in model.model_fields.items():
        for key, below in _below(field.annotation):
            kind = below.model_fields.get("kind")
            label = f" with `kind: {get_args(kind.annotation)[0]}`" if kind else ""
            inner = f"{path}.{name}{key}".lstrip(".")
            for place, found in _models(inner, below, seen):
                yield place + (label if found is below else ""), found


def _below(annotation: Any) -> Iterator[tuple[str, type[BaseModel]]]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield "", annotation
    elif origin is Annotated:
        yield from _below(arguments[0])
    elif origin in (list, dict):
        key = {list: "[]", dict: ".NAME"}[origin]
        yield from ((key + inner, model) for inner, model in _below(arguments[-1]))
    elif origin in (Union, types.UnionType):
        for argument in arguments:
            yield from _below(argument)


def _ordered(model: type[BaseModel]) -> list[tuple[str, Any]]:
    """Fields of a model: `kind` first, then what is required, then the others."""
    fields = model.model_fields.items()
    return sorted(fields, key=lambda item: (item[0] != "kind", not item[1].is_required()))


def _line(name: str, field: Any) -> str:
    default = (
        "required" if field.is_required() else _yaml(field.get_default(call_default_factory=True))
    )
    text = " ".join((field.description or "").split())
    limits = ", ".join(_limits(field))
    text += f" ({limits})" if limits else ""
    kind = _type(field.annotation, field.metadata)
    return f"| `{field.alias or name}` | {kind} | {default} | {text} |"


def _yaml(default: Any) -> str:
    if isinstance(default, BaseModel):
        return "see below"
    if default is None or default == "":
        return "unset"
    if isinstance(default, list):
        default = default[0] if len(default) == 1 else default
    text = default if isinstance(default, str) else json.dumps(default, default=_given)
    return f"`{text}`"


def _given(model: BaseModel) -> dict[str, Any]:
    return model.model_dump(exclude_none=True)


def _type(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(arguments[0], arguments[1:])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in (Union, types.UnionType):
        named = [_type(argument) for argument in arguments if argument is not type(None)]
        return " or ".join(dict.fromkeys(named))
    if origin is list:
        item = _type(arguments[0])
        axis = any(getattr(m, "__name__", "") == "_AxisSchema" for m in metadata)
        return f"{item}; or a list" if axis else f"list of {item}"
    if origin is dict:
        return f"mapping of names to {_type(arguments[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "mapping"
    return {int: "integer", float: "number", str: "text", bool: "`true`, `false`"}.get(
        annotation, getattr(annotation, "__name__", str(annotation))
    )


def _limits(field: Any) -> Iterator[str]:
    signs = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    for part in _metadata(field.annotation, field.metadata):
        for name, words in signs.items():
            if (value := getattr(part, name, None)) is not None:
                yield f"{words} {value:g}" if value < 1e6 else f"{words} {value:,}"


def _metadata(annotation: Any, metadata: Sequence[Any]) -> Iterator[Any]:
    """Constraints of a field and of the values within it."""
    for part in metadata:
        yield part
        yield from getattr(part, "metadata", ())
    if get_origin(annotation) is Annotated:
        yield from _metadata(get_args(annotation)[0], annotation.__metadata__)
    elif get_origin(annotation) in (list, Union, types.UnionType):
        for argument in get_args(annotation):
            yield from _metadata(argument, ())


def _doc(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").split())


if __name__ == "__main__":
    raise SystemExit(main())
