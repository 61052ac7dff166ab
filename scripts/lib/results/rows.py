"""Rows: the flat form of results, one a run, with the same columns in the same order always.

The columns come from the models: first what every result has, then the settings, the metrics and
the provenance. Lists and mappings (raw samples, device states) stay in the result files.
"""

import types
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from scripts.lib.results.kinds import RESULT_MODELS
from scripts.lib.results.result import Provenance, Result

# Type of a column, by the names pandas gives its nullable types.
_DTYPES = {bool: "boolean", int: "Int64", float: "Float64", str: "string"}
_FIRST = {"run": "string", "sweeps": "string", "kind": "string", "status": "string"}


@cache
def columns_of(kind: str) -> dict[str, str]:
    """Columns of one kind's rows in order, and their pandas types."""
    model = RESULT_MODELS[kind]
    settings = _scalars(_model_of(model, "settings"))
    # What was asked for; `batch_size` itself is the number that was measured.
    settings = {
        "requested_batch_size" if name == "batch_size" else name: dtype
        for name, dtype in settings.items()
    }
    settings["requested_batch_size"] = "string"
    return (
        _FIRST
        | {"reason": "string"}
        | settings
        | _scalars(_model_of(model, "metrics"))
        | {"warnings": "string", "measurement_version": "Int64"}
        | _scalars(Provenance)
        | {"torch_version": "string", "transformers_version": "string"}
    )


def columns_of_all(kinds: list[str]) -> dict[str, str]:
    """Columns of a table over several kinds: those of each kind in turn, shared ones once."""
    columns: dict[str, str] = {}
    for kind in RESULT_MODELS:
        if kind in kinds:
            columns = {**columns, **columns_of(kind)}
    return columns or dict(_FIRST)


def row_of(result: Result, sweeps: str) -> dict[str, Any]:
    """Row of a result; `sweeps` names, separated by blanks, the sweeps that ask for the run."""
    settings = result.settings.model_dump()
    metrics = result.metrics.model_dump() if result.metrics else {}
    provenance = result.provenance.model_dump()
    packages = provenance["packages"]
    values = {
        **provenance,
        **settings,
        "batch_size": None,
        **metrics,
        "requested_batch_size": str(settings.get("batch_size", "")),
        "warnings": "; ".join(metrics.get("warnings", [])),
        "sweeps": sweeps,
        "torch_version": packages.get("torch"),
        "transformers_version": packages.get("transformers"),
        **{name: getattr(result, name) for name in ("run", "kind", "status", "reason")},
        "measurement_version": result.measurement_version,
    }
    return {name: values.get(name) for name in columns_of(result.kind)}


def missing_row(run: str, kind: str, sweeps: str, reason: str) -> dict[str, Any]:
    """Row that stands for a run without a readable result; its status is `missing`."""
    return {"run": run, "sweeps": sweeps, "kind": kind, "status": "missing", "reason": reason}


def _model_of(model: type[BaseModel], field: str) -> type[BaseModel]:
    annotation = model.model_fields[field].annotation
    candidates = get_args(annotation) or (annotation,)
    return next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))


def _scalars(model: type[BaseModel]) -> dict[str, str]:
    """Columns for the fields of a model that hold one number, text or truth value."""
    found = {}
    for name, field in model.model_fields.items():
        dtype = _dtype(field.annotation)
        if dtype:
            found[name] = dtype
    return found


def _dtype(annotation: Any) -> str | None:
    if get_origin(annotation) is Literal:
        return _DTYPES.get(type(get_args(annotation)[0]))
    if get_origin(annotation) in (Union, types.UnionType):
        # An optional scalar; of several the first, e.g. "auto" or a number.
        return next((_DTYPES[a] for a in get_args(annotation) if a in _DTYPES), None) or next(
            (dtype for a in get_args(annotation) if (dtype := _dtype(a))), None
        )
    if hasattr(annotation, "__metadata__"):
        return _dtype(get_args(annotation)[0])
    return _DTYPES.get(annotation)
