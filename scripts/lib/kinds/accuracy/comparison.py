"""Points of a sweep compared with its reference: paired differences, aliases, Pareto sets.

Made of finished results only, so that a new point is measured without the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scripts.lib.kinds.accuracy.result import AccuracyMetrics, AccuracyResult
from scripts.lib.runtime.statistics import bootstrap_interval


@dataclass(frozen=True)
class Compared:
    """A point beside the reference of its sweep, which has no difference of its own.

    `difference` is the mean over the samples that both answered of score minus the reference's,
    with its paired 95 % interval. `alias_of` names an earlier point that gave the model the same.
    """

    sweep: str
    result: AccuracyResult
    is_reference: bool
    difference: float | None = None
    difference_ci_low: float | None = None
    difference_ci_high: float | None = None
    alias_of: str | None = None
    pareto_flops: bool = False
    pareto_latency: bool = False


def compare(sweep: str, results: Sequence[AccuracyResult]) -> list[Compared]:
    """Compare the points of a sweep; the first one of each model is its reference."""
    references: dict[str, AccuracyResult] = {}
    known: dict[tuple, str] = {}
    aliases: list[str | None] = []
    for result in results:
        references.setdefault(result.settings.model, result)
        key = _given(result)
        aliases.append(known.get(key) if key else None)
        if key:
            known.setdefault(key, result.run)
    by_run = {result.run: result for result in results}
    # An alias is the same measurement: its own time, by chance another, makes it no other point.
    measured = [
        by_run[alias] if alias else result for result, alias in zip(results, aliases, strict=True)
    ]
    flops = pareto_set([_cost(result, "flops_per_sample") for result in measured])
    latency = pareto_set([_cost(result, "mean_latency_per_sample_ms") for result in measured])
    found = []
    for result, alias, on_flops, on_latency in zip(results, aliases, flops, latency, strict=True):
        reference = references[result.settings.model]
        found.append(
            Compared(
                sweep, result, result is reference, *_difference(result, reference), alias,
                on_flops, on_latency,
            )
        )  # fmt: skip
    return found


def pareto_set(points: Sequence[tuple[float, float] | None]) -> list[bool]:
    """Whether no other point of (cost, accuracy) is at least as good in both and better in one."""

    def beaten(point: tuple[float, float]) -> bool:
        return any(
            other != point and other[0] <= point[0] and other[1] >= point[1]
            for other in points
            if other is not None
        )

    return [point is not None and not beaten(point) for point in points]


def paired_difference(
    scores: dict[int, float], reference: dict[int, float]
) -> tuple[float, float, float] | None:
    """Mean difference of scores by sample number and its 95 % interval; None without a common one.

    Samples that are hard are hard at both points, so the interval of the differences is narrower
    than that of two independent means.
    """
    common = sorted(scores.keys() & reference.keys())
    if not common:
        return None
    differences = np.array([scores[number] - reference[number] for number in common])
    return float(differences.mean()), *bootstrap_interval(differences)


def _difference(
    result: AccuracyResult, reference: AccuracyResult
) -> tuple[float | None, float | None, float | None]:
    if result is reference or not (result.metrics and reference.metrics):
        return None, None, None
    found = paired_difference(_scores(result.metrics), _scores(reference.metrics))
    return found or (None, None, None)


def _scores(metrics: AccuracyMetrics) -> dict[int, float]:
    return {sample.id: sample.score for sample in metrics.samples}


def _given(result: AccuracyResult) -> tuple | None:
    """What the model was and was given; points that share it are one measurement."""
    metrics = result.metrics
    if metrics is None:
        return None
    return (
        metrics.model_identity, metrics.input_digest, metrics.actual_top_k,
        tuple(metrics.active_blocks), result.settings.max_new_tokens, result.settings.precision,
    )  # fmt: skip


def _cost(result: AccuracyResult, name: str) -> tuple[float, float] | None:
    metrics = result.metrics
    return (getattr(metrics, name), metrics.accuracy) if metrics else None
