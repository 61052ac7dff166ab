"""Rows: the flat form of results, one a run, with the same columns in the same order always.

The columns come from the models: first what every result has, then the settings, the metrics and
the provenance. Lists and mappings (raw samples, device states) stay in the result files.
"""

import types
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from scripts.lib.kinds.registry import KINDS
from scripts.lib.results.result import Result

# Type of a column, by the names pandas gives its nullable types.
_DTYPES = {bool: "boolean", int: "Int64", float: "Float64", str: "string"}
# How a batch size was searched for stands in batch_size.json, a server's launch in run.json.
_NO_COLUMNS = {"batch_size_search", "launch"}
_FIRST = {"run": "string", "sweeps": "string", "kind": "string", "status": "string"}


@cache
def columns_of(kind: str) -> dict[str, str]:
    """Columns of one kind's rows in order, and their pandas types."""
    model = KINDS[kind].result
    settings = _scalars(model, "settings")
    if "batch_size" in settings:
        # What was asked for; `batch_size` itself is the number that was measured.
        names = list(settings)
        names[names.index("batch_size")] = "requested_batch_size"
        settings = dict(zip(names, settings.values(), strict=True))
        settings["requested_batch_size"] = "string"
    return (
        _FIRST
        | {"reason": "string"}
        | settings
        | _scalars(model, "metrics")
        | (_scalars(model, "boot") if "boot" in model.model_fields else {})
        | {"warnings": "string", "measurement_version": "Int64"}
        | _scalars(model, "provenance")
        | {"torch_version": "string", "transformers_version": "string"}
    )


def columns_of_all(kinds: list[str]) -> dict[str, str]:
    """Columns of a table over several kinds: those of each kind in turn, shared ones once."""
    columns: dict[str, str] = {}
    for kind in KINDS:
        if kind in kinds:
            columns = {**columns, **columns_of(kind)}
    return columns or dict(_FIRST)


def row_of(result: Result, sweeps: str) -> dict[str, Any]:
    """Row of a result; `sweeps` names, separated by blanks, the sweeps that ask for the run."""
    settings = result.settings.model_dump()
    metrics = result.metrics.model_dump() if result.metrics else {}
    boot = getattr(result, "boot", None)
    provenance = result.provenance.model_dump()
    packages = provenance["packages"]
    values = {
        **provenance,
        **_flat(settings),
        "batch_size": None,
        **_flat(metrics),
        **(boot.model_dump() if boot else {}),
        "requested_batch_size": str(settings.get("batch_size", "")),
        "warnings": "; ".join(metrics.get("warnings", [])),
        "sweeps": sweeps,
        "torch_version": packages.get("torch"),
        "transformers_version": packages.get("transformers"),
        **{name: getattr(result, name) for name in ("run", "kind", "status", "reason")},
        "measurement_version": result.measurement_version,
    }
    return {name: _cell(values.get(name), dtype) for name, dtype in columns_of(result.kind).items()}


def missing_row(run: str, kind: str, sweeps: str, reason: str) -> dict[str, Any]:
    """Row that stands for a run without a readable result; its status is `missing`."""
    return {"run": run, "sweeps": sweeps, "kind": kind, "status": "missing", "reason": reason}


def _scalars(model: type[BaseModel], part: str) -> dict[str, str]:
    """Columns for the fields of a part of a result that hold one number, text or truth value."""
    annotation = model.model_fields[part].annotation
    candidates = get_args(annotation) or (annotation,)
    parts = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
    columns: dict[str, str] = {}
    for below in parts:
        for name, field in below.model_fields.items():
            if dtype := _dtype(field.annotation):
                columns[name] = dtype
            elif (
                name not in _NO_COLUMNS and get_origin(field.annotation) is not list
            ):  # what is nested, e.g. `prefill`, as `prefill_tp`
                inner = _scalars(below, name)
                columns |= {f"{name}_{key}": kind for key, kind in inner.items()}
    return columns


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
