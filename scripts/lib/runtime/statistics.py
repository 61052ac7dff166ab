"""Statistics of repeated timings."""

from collections.abc import Callable
from math import sqrt
from statistics import NormalDist

import numpy as np


def summarize(times_ms: list[float]) -> dict[str, float | None]:
    """Location, spread and the 95 % interval of the median of trial times.

    The keys are the fields of `TrainingMetrics`. Times are never negative, so the coefficient of
    variation is well defined unless all are zero.
    """
    times = np.asarray(times_ms, dtype=float)
    mean = float(times.mean())
    std = float(times.std(ddof=1)) if times.size > 1 else 0.0
    low, high = median_interval(times_ms) or (None, None)
    p10, median, p90, p99 = (float(value) for value in np.percentile(times, [10, 50, 90, 99]))
    return {
        "mean_step_time_ms": mean,
        "std_step_time_ms": std,
        "median_step_time_ms": median,
        "median_step_time_ci_low_ms": low,
        "median_step_time_ci_high_ms": high,
        "p10_step_time_ms": p10,
        "p90_step_time_ms": p90,
        "p99_step_time_ms": p99,
        "cv_step_time": std / mean if mean else 0.0,
    }


def median_interval(samples: list[float], confidence: float = 0.95) -> tuple[float, float] | None:
    """Interval of the median from order statistics; None with too few samples.

    Free of any assumption about the distribution: the number of samples below the median is
    binomial(n, 1/2), so [x_(k), x_(n+1-k)] covers it with probability 1 - 2 P(X < k); the largest
    k that keeps at least `confidence` is taken (David and Nagaraja, Order Statistics, 7.1). Six
    samples are the fewest that reach 95 %.
    """
    ordered = sorted(samples)
    k = _rank(len(ordered), confidence)
    return (ordered[k - 1], ordered[-k]) if k else None


def positive_interval(samples: list[float], confidence: float = 0.95) -> tuple[float, float] | None:
    """Student's interval of the typical value of samples above 0; None with fewer than two.

    On the logarithms, so that few samples give a wide interval and never one below 0.
    """
    if len(samples) < 2:
        return None
    from scipy.stats import t

    logs, count = np.log(samples), len(samples)
    half = t.ppf(0.5 + confidence / 2, count - 1) * np.std(logs, ddof=1) / sqrt(count)
    return float(np.exp(np.mean(logs) - half)), float(np.exp(np.mean(logs) + half))


def ratio_interval(
    peer: np.ndarray,
    own: np.ndarray,
    seed: int = 0,
    statistic: Callable[..., np.ndarray] = np.median,
) -> tuple[float, float, float]:
    """Ratio of a statistic of paired samples and its 95 % bootstrap interval, pairs resampled."""
    generator = np.random.default_rng(seed)
    drawn = generator.integers(0, len(own), size=(5000, len(own)))
    ratios = statistic(peer[drawn], axis=1) / statistic(own[drawn], axis=1)
    low, high = np.percentile(ratios, [2.5, 97.5])
    return float(statistic(peer) / statistic(own)), float(low), float(high)


def bootstrap_interval(
    samples: np.ndarray, seed: int = 0, confidence: float = 0.95, draws: int = 2000
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of independent samples.

    Efron and Tibshirani, An Introduction to the Bootstrap, 13.3. Of scores of the same samples at
    two points, give the differences: the interval is then a paired one.
    """
    samples = np.asarray(samples, dtype=float)
    generator, count = np.random.default_rng(seed), len(samples)
    # A few draws at a time: all of them for a large data set would fill the memory.
    step = max(1, (1 << 22) // count)
    means = np.concatenate(
        [
            samples[generator.integers(0, count, (min(step, draws - start), count))].mean(axis=1)
            for start in range(0, draws, step)
        ]
    )
    tail = 50 * (1 - confidence)
    low, high = np.percentile(means, [tail, 100 - tail])
    return float(low), float(high)


def _rank(n: int, confidence: float) -> int:
    """Largest k with 1 - 2 P(X < k) >= confidence for X ~ binomial(n, 1/2); 0 if there is none.

    Above 1,000 samples by the normal approximation, which is off by less than one rank there.
    """
    if n > 1000:
        return int((n - NormalDist().inv_cdf(0.5 + confidence / 2) * sqrt(n)) / 2)
    k, below, term = 0, 0.0, 0.5**n  # below = P(X < k), term = P(X = k)
    while k < n // 2 and 1 - 2 * (below + term) >= confidence:
        below += term
        term *= (n - k) / (k + 1)
        k += 1
    return k
