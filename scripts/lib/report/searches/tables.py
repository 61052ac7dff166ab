"""Table of the searches for the largest batch."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from scripts.lib.batch_size.result import BatchSizeResult
from scripts.lib.kinds.registry import KINDS

COLUMNS = ("model_size", "context_length", "knobs", "mode", "precision")


def batch_sizes(results: Sequence[BatchSizeResult]) -> pd.DataFrame:
    """Make a row of each search: what was found, its proof, what it cost. Empty columns go."""
    return pd.DataFrame([_row(result) for result in results]).dropna(axis=1, how="all")


def searched_settings(result: BatchSizeResult) -> dict[str, Any]:
    """Return the settings that a kind shows of a search."""
    kind = KINDS[result.kind]
    return kind.probing.columns(result.run_settings(kind.run)) if kind.probing else {}


def _row(result: BatchSizeResult) -> dict[str, object]:
    settings, line = searched_settings(result), result.memory_model
    return {
        **{name: settings.get(name) for name in COLUMNS},
        "status": result.status,
        "batch_size": result.batch_size,
        "certified": result.certified,
        "recommended_batch_size": result.recommended_batch_size,
        "knee_batch_size": result.knee_batch_size,
        "upper_limit": result.upper_limit,
        "strategy": result.strategy,
        "probes": len(result.probes),
        "ooms": result.ooms,
        "duration_s": round(result.duration_s, 2),
        "budget_mib": result.budget_mib,
        "margin": _margin(result),
        "mib_per_sample": line.slope_mib if line else None,
        "mib_fixed": line.intercept_mib if line else None,
        "budget_method": result.budget_method,
        "reason": result.reason or None,
        "run": result.run,
    }


def _margin(result: BatchSizeResult) -> str:
    if result.margin_mib is not None:
        return f"{result.margin_mib:g} MiB"
    return f"{100 * result.margin:g} %"
