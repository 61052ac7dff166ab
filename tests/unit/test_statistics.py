"""Summaries of timings are what their names say."""

from math import comb

import numpy as np
import pytest

from scripts.lib.runtime.statistics import median_interval, positive_interval, summarize


def test_summary_of_known_times():
    summary = summarize([1.0, 2.0, 3.0, 4.0, 100.0])
    assert summary["median_step_time_ms"] == 3
    assert summary["mean_step_time_ms"] == 22
    assert summary["std_step_time_ms"] == pytest.approx(np.std([1, 2, 3, 4, 100], ddof=1))
    assert summary["cv_step_time"] == pytest.approx(summary["std_step_time_ms"] / 22)
    assert summary["median_step_time_ci_low_ms"] is None


@pytest.mark.parametrize(("n", "low", "high"), [(6, 1, 6), (10, 2, 9), (20, 6, 15), (100, 40, 61)])
def test_ranks_of_the_interval_are_those_of_the_tables(n, low, high):
    assert median_interval(list(range(1, n + 1))) == (low, high)


@pytest.mark.parametrize("n", [5, 6, 50, 999, 1000, 1001, 5000])
def test_ranks_agree_with_exact_sums(n):
    def tail(k):
        return sum(comb(n, i) for i in range(k)) / 2**n

    interval = median_interval(list(range(1, n + 1)))
    if interval is None:
        assert 1 - 2 * tail(1) < 0.95
        return
    low, high = interval
    assert low + high == n + 1
    assert 1 - 2 * tail(low) >= 0.9495
    assert 1 - 2 * tail(low + 2) < 0.95


def test_a_million_samples_take_no_time():
    assert median_interval([float(i) for i in range(1_000_000)]) is not None


def test_the_interval_covers_the_median_as_often_as_it_says():
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(2000):
        low, high = median_interval(list(generator.exponential(size=15)))
        covered += low <= np.log(2) <= high
    assert covered / 2000 > 0.95


def test_one_trial_has_no_spread():
    summary = summarize([5.0])
    assert (
        summary["std_step_time_ms"],
        summary["cv_step_time"],
        summary["median_step_time_ms"],
    ) == (0, 0, 5)


def test_interval_of_positive_samples_stays_above_zero_and_covers():
    low, high = positive_interval([60.0, 230.0])
    assert 0 < low < 60
    assert high > 230
    generator = np.random.default_rng(0)
    drawn = np.exp(generator.normal(3, 0.2, size=(2000, 5)))
    covered = [low < np.exp(3) < high for low, high in map(positive_interval, drawn)]
    assert 0.93 < np.mean(covered) < 0.97
    assert positive_interval([1.0]) is None
