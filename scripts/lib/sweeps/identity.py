"""What identifies a run: the settings that differ from a stated base.

The base of a kind is the default of each setting at the time when the setting was introduced. It is
kept in `config/identity.json`, to which `python -m scripts.document_config` adds the defaults of
new settings and in which it never changes one; a setting that is not in the file yet has the
default of its model. So a new setting with a default changes no id and nothing is measured again,
and a default that changes later gives new ids to the runs whose meaning changed with it.
"""

import hashlib
import json
import types
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from scripts.lib.sweeps.names import file_name
from scripts.lib.sweeps.run import RunSettings

BASE_FILE = Path(__file__).parents[3] / "config" / "identity.json"

# Dotted name of a setting, `[]` after a list, to its default in the base.
Base = Mapping[str, Any]
_MISSING = object()
# File names have at most 255 bytes, and logs and temporary files add to the id.
_MAX_SLUG = 120


@cache
def load_bases() -> dict[str, dict[str, Any]]:
    """Read the stated bases by kind."""
    bases: dict[str, dict[str, Any]] = json.loads(BASE_FILE.read_text(encoding="utf-8"))
    return bases


def id_of(model: type[RunSettings], settings: Mapping[str, Any]) -> str:
    """Return a run's id: a readable name, and 8 hex digits of what identifies it."""
    return f"{_slug(model, settings)}-{digest_of(identity_of(model, settings))}"


def identity_of(model: type[RunSettings], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a run that differ from the base of its kind, and the kind.

    `settings` may leave out what has its default. The result completes to the same settings.
    """
    kind = kind_name(model)
    return {"kind": kind, **minimal(model, settings, load_bases().get(kind, {}))}


def completed(model: type[RunSettings], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Add to the settings of a run what the base says of those that are left out.

    What the base does not know is left to the defaults of the model.
    """
    return _completed(model, settings, load_bases().get(kind_name(model), {}), "")


def kind_name(model: type[RunSettings]) -> str:
    """Return the name of the kind that a run model belongs to."""
    return str(get_args(model.model_fields["kind"].annotation)[0])


def digest_of(value: Any) -> str:
    """Return 8 hex digits of the SHA-256 of a JSON value in canonical form."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:8]


def minimal(
    model: type[BaseModel], settings: Mapping[str, Any], base: Base, prefix: str = ""
) -> dict[str, Any]:
    """Return the settings of a model that differ from the base, nested models likewise.

    A nested model that is set where the base has none stays, if only as an empty mapping.
    """
    kept: dict[str, Any] = {}
    for name, field, nested in _fields(model):
        value = settings.get(name, _MISSING)
        if value is _MISSING:
            continue
        if nested is not None:
            value = _minimal_nested(nested, value, base, prefix + name)
        if value != _base_value(field, nested, base, prefix + name):
            kept[name] = value
    return kept


def new_defaults(model: type[RunSettings], base: Base) -> dict[str, Any]:
    """Return the defaults of a kind's settings that its base does not state yet, by dotted name."""
    return dict(_new_defaults(model, base, ""))


def _completed(
    model: type[BaseModel], settings: Mapping[str, Any], base: Base, prefix: str
) -> dict[str, Any]:
    completed = dict(settings)
    for name, _, nested in _fields(model):
        key = prefix + name
        if name not in completed and key in base:
            completed[name] = base[key]
        value = completed.get(name)
        if nested is None or value is None:
            continue
        if isinstance(value, Mapping):
            completed[name] = _completed(nested, value, base, f"{key}.")
        elif isinstance(value, list):
            completed[name] = [
                _completed(nested, item, base, f"{key}[].") if isinstance(item, Mapping) else item
                for item in value
            ]
    return completed


def _minimal_nested(nested: type[BaseModel], value: Any, base: Base, key: str) -> Any:
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return minimal(nested, value, base, f"{key}.")
    if isinstance(value, list):
        return [
            minimal(nested, item, base, f"{key}[].") if isinstance(item, Mapping) else item
            for item in value
        ]
    return value


def _base_value(field: FieldInfo, nested: type[BaseModel] | None, base: Base, key: str) -> Any:
    """Return the default of a setting in the base, in minimal form; `_MISSING` without one."""
    if key in base:
        return base[key]
    if field.is_required():
        return _MISSING
    default = field.get_default(call_default_factory=True)
    if nested is not None:
        return _minimal_nested(nested, _plain(default), base, key)
    return default


def _plain(value: Any) -> Any:
    """Return a default as JSON has it."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def _new_defaults(model: type[BaseModel], base: Base, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, field, nested in _fields(model):
        key = prefix + name
        if key not in base and not field.is_required() and key != "kind":
            yield key, _base_value(field, nested, base, key)
        if nested is not None:
            is_list = _holds_list(field.annotation)
            yield from _new_defaults(nested, base, f"{key}[]." if is_list else f"{key}.")


@cache
def _fields(model: type[BaseModel]) -> tuple[tuple[str, FieldInfo, type[BaseModel] | None], ...]:
    """Return the settings of a model but its kind, each with the model nested in it, if any."""
    return tuple(
        (name, field, _nested(field.annotation))
        for name, field in model.model_fields.items()
        if name != "kind"
    )


def _nested(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) is Annotated:
        return _nested(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType, list):
        return next(filter(None, map(_nested, get_args(annotation))), None)
    return None


def _holds_list(annotation: Any) -> bool:
    if get_origin(annotation) is Annotated:
        return _holds_list(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return any(map(_holds_list, get_args(annotation)))
    return get_origin(annotation) is list


def _slug(model: type[RunSettings], settings: Mapping[str, Any]) -> str:
    named = model.slug.items()
    parts = (_slug_part(before, _setting(settings, key)) for key, before in named)
    return file_name("-".join(filter(None, parts)))[:_MAX_SLUG]


def _setting(settings: Mapping[str, Any], key: str) -> Any:
    """Value of a setting; a dot leads into a setting that is a mapping."""
    outer, _, inner = key.partition(".")
    value = settings.get(outer)
    return _setting(value, inner) if inner and value else value


def _slug_part(before: str, value: Any) -> str:
    if isinstance(value, bool):
        return before if value else ""
    if isinstance(value, list):
        value = "_".join(map(str, value))
    return f"{before}{value}" if value not in (None, "", 0, "none") else ""
