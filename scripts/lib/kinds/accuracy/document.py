"""The file of a sweep in the form of the profiling guide that preceded sweepmake.

`summary` has a line a point with the knobs, `accuracy`, `batch_size_used`, `num_samples`, `std` and
`duration_seconds`; `all_samples` every answer; `config` what all points share.
"""

from collections.abc import Sequence
from typing import Any

from scripts.lib.kinds.accuracy.comparison import Compared
from scripts.lib.kinds.accuracy.measurement import KNOBS

COUNTED = ("crops", "vision_tokens", "new_tokens")


def document(points: Sequence[Compared]) -> dict[str, Any]:
    """Put the points of a sweep into one mapping."""
    return {
        "summary": [_line(point) for point in points],
        "all_samples": [sample for point in points for sample in _samples(point)],
        "config": _config(points),
    }


def _knobs(point: Compared) -> dict[str, Any]:
    settings = point.result.settings
    selection = {"block_selection": settings.block_selection} if settings.block_selection else {}
    return {knob: getattr(settings, knob) for knob in KNOBS} | selection


def _line(point: Compared) -> dict[str, Any]:
    result, metrics = point.result, point.result.metrics
    line = {"run": result.run, "model": result.settings.model, **_knobs(point),
            "status": result.status}  # fmt: skip
    if metrics is None:
        return line | {"reason": result.reason}
    return line | {
        "accuracy": metrics.accuracy,
        "batch_size_used": result.effective.batch_size,
        "num_samples": metrics.samples_evaluated,
        "std": metrics.std_score,
        "std_error": metrics.accuracy_std_error,
        "ci_low": metrics.accuracy_ci_low,
        "ci_high": metrics.accuracy_ci_high,
        "difference": point.difference,
        "difference_ci_low": point.difference_ci_low,
        "difference_ci_high": point.difference_ci_high,
        "alias_of": point.alias_of,
        "flops_per_sample": metrics.flops_per_sample,
        "active_parameters": metrics.num_active_parameters,
        "latency_per_sample_ms": metrics.mean_latency_per_sample_ms,
        "duration_seconds": metrics.duration_s,
    }


def _samples(point: Compared) -> list[dict[str, Any]]:
    metrics = point.result.metrics
    return [
        {
            **_knobs(point),
            "sample_id": sample.id,
            "question": sample.question,
            "answers": sample.answers,
            "prediction": sample.prediction,
            "score": sample.score,
            **{name: getattr(sample, name) for name in COUNTED},
        }
        for sample in (metrics.samples if metrics else ())
    ]


def _config(points: Sequence[Compared]) -> dict[str, Any]:
    """Settings that all points have in common."""
    each = [point.result.settings.model_dump() for point in points]
    return {name: value for name, value in each[0].items()
            if all(settings[name] == value for settings in each)}  # fmt: skip
