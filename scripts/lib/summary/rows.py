"""Rows: the flat form of results, with the same columns in the same order always.

The columns come from the models: first what every result has, then the settings as requested, what
was in force, the metrics and the provenance. Lists and mappings (raw samples, device states) stay
in the result files. The summary of all kinds has a row per run; that of a kind has a row for each
of the several things that one run may measure.
"""

import types
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from scripts.lib.kinds.registry import KINDS
from scripts.lib.results.result import Effective, Result

# Type of a column, by the names pandas gives its nullable types.
_DTYPES = {bool: "boolean", int: "Int64", float: "Float64", str: "string"}
# How a batch size was searched for is in batch_size.json, a server's launch in run.json.
_NO_COLUMNS = {"batch_size_search", "launch"}
_REQUESTED = "requested_"
_FIRST = {"run": "string", "sweeps": "string", "kind": "string", "status": "string"}


@cache
def columns_of(kind: str) -> dict[str, str]:
    """Columns of one kind's rows in order, and their pandas types: a row per run.

    A setting with the name of an effective value is `requested_{name}`; the plain name is what was
    in force.
    """
    return _columns(kind, {})


@cache
def detailed_columns_of(kind: str) -> dict[str, str]:
    """Columns of a kind's own summary: a row for each of the several things that a run measures."""
    model = KINDS[kind].result
    return _columns(kind, _entry_columns(model) if model.rows_field else {})


def columns_of_all(kinds: list[str]) -> dict[str, str]:
    """Columns of a table over several kinds: those of each kind in turn, shared ones once."""
    columns: dict[str, str] = {}
    for kind in KINDS:
        if kind in kinds:
            columns = {**columns, **columns_of(kind)}
    return columns or dict(_FIRST)


def row_of(result: Result, sweeps: str) -> dict[str, Any]:
    """Row of a result; `sweeps` names, separated by blanks, the sweeps that ask for the run."""
    return _typed(_values(result, sweeps), columns_of(result.kind))


def detailed_rows_of(result: Result, sweeps: str) -> list[dict[str, Any]]:
    """Rows of a result in its kind's own summary; one where the run measured nothing."""
    values, columns = _values(result, sweeps), detailed_columns_of(result.kind)
    entries = []
    if result.rows_field and result.metrics is not None:
        entries = [entry.model_dump() for entry in getattr(result.metrics, result.rows_field)]
    return [_typed(values | _flat(entry), columns) for entry in entries or [{}]]


def missing_row(run: str, kind: str, sweeps: str, reason: str) -> dict[str, Any]:
    """Row that stands for a run without a readable result; its status is `missing`."""
    return {"run": run, "sweeps": sweeps, "kind": kind, "status": "missing", "reason": reason}


def _columns(kind: str, entry: dict[str, str]) -> dict[str, str]:
    model = KINDS[kind].result
    settings = {_requested(name): dtype for name, dtype in _scalars(model, "settings").items()}
    settings |= {name: "string" for name in settings if name.startswith(_REQUESTED)}
    further = {
        name: dtype for part in _further(model) for name, dtype in _scalars(model, part).items()
    }
    return (
        _FIRST
        | {"reason": "string"}
        | settings
        | _scalars(model, "effective")
        | entry
        | {name: d for name, d in _scalars(model, "metrics").items() if name not in entry}
        | further
        | {"warnings": "string", "measurement_version": "Int64"}
        | _scalars(model, "provenance")
        | {"torch_version": "string", "transformers_version": "string"}
    )


def _values(result: Result, sweeps: str) -> dict[str, Any]:
    settings = _flat(result.settings.model_dump())
    metrics = result.metrics.model_dump() if result.metrics else {}
    further = [getattr(result, part) for part in _further(type(result))]
    provenance = result.provenance.model_dump()
    packages = provenance["packages"]
    return {
        **provenance,
        **{_requested(name): value for name, value in settings.items()},
        **_flat(metrics),
        **{name: value for part in further if part for name, value in part},
        **(result.effective.model_dump() if result.effective else {}),
        "warnings": "; ".join(metrics.get("warnings", [])),
        "sweeps": sweeps,
        "torch_version": packages.get("torch"),
        "transformers_version": packages.get("transformers"),
        **{name: getattr(result, name) for name in ("run", "kind", "status", "reason")},
        "measurement_version": result.measurement_version,
    }


def _requested(setting: str) -> str:
    """Column of a setting: another one where there is an effective value of its name."""
    return _REQUESTED + setting if setting in Effective.model_fields else setting


def _further(model: type[Result]) -> list[str]:
    """Parts of a kind's result beside those that every result has."""
    return [name for name in model.model_fields if name not in Result.model_fields]


def _entry_columns(model: type[Result]) -> dict[str, str]:
    """Columns of one of the several things that a run measures."""
    (metrics,) = _models(model.model_fields["metrics"].annotation)
    (entries,) = get_args(metrics.model_fields[str(model.rows_field)].annotation)
    return _columns_in(entries)


def _typed(values: dict[str, Any], columns: dict[str, str]) -> dict[str, Any]:
    return {name: _cell(values.get(name), dtype) for name, dtype in columns.items()}


def _scalars(model: type[BaseModel], part: str) -> dict[str, str]:
    """Columns for the fields of a part of a result that hold one number, text or truth value."""
    columns: dict[str, str] = {}
    for below in _models(model.model_fields[part].annotation):
        columns |= _columns_in(below)
    return columns


def _columns_in(model: type[BaseModel]) -> dict[str, str]:
    columns: dict[str, str] = {}
    for name, field in model.model_fields.items():
        if dtype := _dtype(field.annotation):
            columns[name] = dtype
        elif name not in _NO_COLUMNS and get_origin(field.annotation) is not list:
            # What is nested, e.g. `prefill`, is `prefill_tp`.
            inner = _scalars(model, name)
            columns |= {f"{name}_{key}": kind for key, kind in inner.items()}
    return columns


def _models(annotation: Any) -> list[type[BaseModel]]:
    candidates = get_args(annotation) or (annotation,)
    return [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings or metrics with those of nested mappings beside them, as `outer_inner`."""
    inner = {
        f"{outer}_{name}": value
        for outer, values in settings.items()
        if isinstance(values, dict)
        for name, value in values.items()
    }
    return settings | inner


def _cell(value: Any, dtype: str) -> Any:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return str(value) if dtype == "string" and value is not None else value


def _is_list(annotation: Any) -> bool:
    return hasattr(annotation, "__metadata__") and get_origin(get_args(annotation)[0]) is list


def _dtype(annotation: Any) -> str | None:
    if get_origin(annotation) is Literal:
        return _DTYPES.get(type(get_args(annotation)[0]))
    if get_origin(annotation) in (Union, types.UnionType):
        kinds = [a for a in get_args(annotation) if a is not type(None)]
        if any(get_origin(kind) is list or _is_list(kind) for kind in kinds):
            return "string" if len(kinds) > 1 else None  # one value or several: as text
        return next((dtype for kind in kinds if (dtype := _dtype(kind))), None)
    if hasattr(annotation, "__metadata__"):
        return _dtype(get_args(annotation)[0])
    return _DTYPES.get(annotation)
