"""Turn a model's complaints into lines that name the file, the key and what is allowed."""

import difflib
import reprlib
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

Keys = tuple[str | int, ...]


def dotted(keys: Keys) -> str:
    """`keys` as one readable path on one line; `sweeps.modes.size.0`."""
    return ".".join(key if (key := str(part)).isprintable() else repr(key) for part in keys)


def describe(error: ValidationError, model: type[BaseModel], data: Any) -> list[tuple[Keys, str]]:
    """Keys and message of each problem that validating `data` against `model` found."""
    problems = []
    for item in error.errors(include_url=False):
        keys = _keys_in(data, item["loc"], absent_last=item["type"] == "missing")
        context = item.get("ctx", {})
        if item["type"] == "problem_at":
            keys += tuple(context["keys"])
        message = _message(item, model)
        if (keys, message) not in problems:
            problems.append((keys, message))
    # A union reports every alternative, each with the same value at its end.
    seen: dict[Keys, str] = {}
    for keys, message in problems:
        if keys in seen:
            alternative, got, _ = seen[keys].rpartition(", got ")
            message = f"{alternative if got else seen[keys]}, or {message}"
        seen[keys] = message
    return list(seen.items())


def _message(item: Any, model: type[BaseModel]) -> str:
    kind, context = item["type"], item.get("ctx", {})
    if kind == "extra_forbidden":
        allowed = _fields_at(model, item["loc"][:-1])
        close = difflib.get_close_matches(str(item["loc"][-1]), allowed, n=1)
        hint = f'; did you mean "{close[0]}"?' if close else ""
        return f"unknown key{hint} (allowed: {', '.join(allowed)})"
    if kind == "missing":
        return "this key is required"
    if kind in ("value_error", "problem_at"):
        return str(context.get("error", item["msg"]))
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        return f"kind must be one of {_tags(model, item['loc'])}"
    if kind == "string_pattern_mismatch" and "{}" in context["pattern"]:
        return f"must be a path without braces, got {_shown(item['input'])}"
    if kind == "string_pattern_mismatch":
        return (
            f"{_shown(item['input'])} is no name: 1 to 40 letters, digits, '_', '.', '-', "
            "the first a letter or digit"
        )
    text = item["msg"].replace("Input should be ", "must be ")
    if kind == "too_short":
        return "must not be empty"
    if kind in ("model_type", "dict_type", "model_attributes_type"):
        text = "must be a mapping (key: value)"
    return f"{text}, got {_shown(item['input'])}"


def _shown(value: Any) -> str:
    """Start of a value's repr; a whole one may be endless where YAML aliases repeat themselves."""
    try:
        text = repr(value) if isinstance(value, str) else reprlib.repr(value)
    except ValueError:  # an integer with more digits than Python agrees to write
        text = f"a huge {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


def _keys_in(data: Any, location: Keys, absent_last: bool) -> Keys:
    """Drop from `location` what stands only in the model: union tags, indices of a lone value.

    `absent_last` keeps the last key though it is not in `data`: it is the one that is missing.
    """
    keys: list[str | int] = []
    for i, key in enumerate(location):
        last = absent_last and i == len(location) - 1
        if isinstance(data, dict) and (key in data or last):
            keys.append(key)
            data = data.get(key)
        elif isinstance(data, list) and isinstance(key, int) and key < len(data):
            keys.append(key)
            data = data[key]
    return tuple(key for key in keys if key != "[key]")


def _fields_at(annotation: Any, location: Keys) -> list[str]:
    """Keys of the model that stands at `location` below `annotation`."""
    found = (_alias_fields(model) for model in _models_at(annotation, location))
    return next((list(fields) for fields in found if fields), [])


def _tags(annotation: Any, location: Keys) -> str:
    """Values of `kind` that the models at `location` below `annotation` have."""
    return ", ".join(filter(None, map(_tag, _models_at(annotation, location))))


def _models_at(annotation: Any, location: Keys) -> Iterator[type[BaseModel]]:
    """Yield the models that may stand at `location` below `annotation`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from _models_at(arguments[0], location)
    elif origin in (Union, types.UnionType):
        tagged = [a for a in arguments if location and location[0] in (_tag(a), _name(a))]
        for argument in tagged[:1] or arguments:
            yield from _models_at(argument, location[1:] if tagged else location)
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if not location:
            yield annotation
        elif field := _alias_fields(annotation).get(str(location[0])):
            yield from _models_at(field.annotation, location[1:])
    elif origin in (list, dict) and location:
        yield from _models_at(arguments[-1], location[1:])


def _alias_fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Fields of `model` by the key that stands in the file."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _tag(annotation: Any) -> str | None:
    model = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    field = getattr(model, "model_fields", {}).get("kind")
    return (
        get_args(field.annotation)[0] if field and get_origin(field.annotation) is Literal else None
    )


def _name(annotation: Any) -> str | None:
    return getattr(annotation, "__name__", None)
