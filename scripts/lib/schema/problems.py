"""Turn a model's complaints into lines that name the file, the key and what is allowed."""

import difflib
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

Keys = tuple[str | int, ...]


def describe(error: ValidationError, model: type[BaseModel], data: Any) -> list[tuple[Keys, str]]:
    """Keys and message of each problem that validating `data` against `model` found."""
    problems = []
    for item in error.errors(include_url=False):
        keys = _keys_in(data, item["loc"])
        context = item.get("ctx", {})
        if item["type"] == "problem_at":
            keys += tuple(context["keys"])
        message = _message(item, model)
        if (keys, message) not in problems:
            problems.append((keys, message))
    # A union reports every alternative; the first one for a place says enough.
    seen: dict[Keys, str] = {}
    for keys, message in problems:
        seen[keys] = f"{seen[keys]}, or {message}" if keys in seen else message
    return list(seen.items())


def _message(item: dict[str, Any], model: type[BaseModel]) -> str:
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
        return f"kind must be one of {context.get('expected_tags', _tags(model))}"
    if kind == "string_pattern_mismatch":
        return (
            f"{_shown(item['input'])} is no name: 1 to 40 letters, digits, '_', '.', '-', "
            "the first a letter or digit"
        )
    text = item["msg"].replace("Input should be ", "must be ")
    if kind == "too_short":
        return "must not be empty"
    return f"{text}, got {_shown(item['input'])}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _tags(model: type[BaseModel]) -> str:
    return "the sweep kinds"


def _keys_in(data: Any, location: Keys) -> Keys:
    """Drop from `location` what stands only in the model: union tags, indices of a lone value."""
    keys: list[str | int] = []
    for i, key in enumerate(location):
        last = i == len(location) - 1
        if isinstance(data, dict) and (key in data or last):
            keys.append(key)
            data = data.get(key)
        elif isinstance(data, list) and isinstance(key, int) and key < len(data):
            keys.append(key)
            data = data[key]
    return tuple(key for key in keys if key != "[key]")


def _fields_at(annotation: Any, location: Keys) -> list[str]:
    """Names of the fields of the model that stands at `location` below `annotation`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _fields_at(arguments[0], location)
    if origin in (Union, types.UnionType):
        if location and (tagged := [a for a in arguments if location[0] in (_tag(a), _name(a))]):
            return _fields_at(tagged[0], location[1:])
        return next((found for a in arguments if (found := _fields_at(a, location))), [])
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if not location:
            return list(annotation.model_fields)
        field = annotation.model_fields.get(str(location[0]))
        return _fields_at(field.annotation, location[1:]) if field else []
    if origin in (list, dict) and location:
        return _fields_at(arguments[-1], location[1:])
    return []


def _tag(annotation: Any) -> str | None:
    model = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    field = getattr(model, "model_fields", {}).get("kind")
    return (
        get_args(field.annotation)[0] if field and get_origin(field.annotation) is Literal else None
    )


def _name(annotation: Any) -> str | None:
    return getattr(annotation, "__name__", None)
