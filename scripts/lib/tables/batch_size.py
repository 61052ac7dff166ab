"""Table of the searches for the largest batch."""

from collections.abc import Sequence

import pandas as pd

from scripts.lib.results.batch_size import BatchSizeResult

TITLE = "Largest Batch Sizes"


def batch_sizes(results: Sequence[BatchSizeResult]) -> pd.DataFrame:
    """Make a row of each search: what was found, its proof, what it cost. Empty columns go."""
    return pd.DataFrame([_row(result) for result in results]).dropna(axis=1, how="all")


def _row(result: BatchSizeResult) -> dict[str, object]:
    settings, line = result.settings, result.memory_model
    return {
        "model_size": settings.model_size,
        "context_length": settings.context_length,
        "knobs": getattr(settings, "point", None),
        "mode": settings.mode,
        "precision": settings.precision,
        "status": result.status,
        "batch_size": result.batch_size,
        "certified": result.certified,
        "recommended_batch_size": result.recommended_batch_size,
        "knee_batch_size": result.knee_batch_size,
        "upper_limit": result.upper_limit,
        "strategy": result.strategy,
        "probes": len(result.probes),
        "ooms": result.ooms,
        "seconds": round(result.seconds, 2),
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
