"""Both solvers against brute force, their limits, and what they say when nothing is possible."""

import itertools

import numpy as np
import pytest

from scripts.lib.kinds.ddp.scheduler import (
    Cost,
    ScheduleError,
    fit_cost,
    lower_bound,
    prefix_costs,
    schedule_prefix,
    schedule_sorted,
    token_caps,
)

COSTS = [Cost("tokens"), Cost("tokens_sq"), Cost("fitted", (3.0, 0.7, 0.013))]


def partitions(samples: list[int], ranks: int):
    """All ways to give each sample to one of the ranks, none of them empty."""
    for owners in itertools.product(range(ranks), repeat=len(samples)):
        if len(set(owners)) == ranks:
            yield [
                [s for s, o in zip(samples, owners, strict=True) if o == r] for r in range(ranks)
            ]


def cost_of(groups, cost):
    return max(float(cost.of(len(group), max(group))) for group in groups)


def fits(groups, max_samples, max_tokens):
    return all(
        len(group) <= (max_samples or 99) and len(group) * max(group) <= (max_tokens or 9999)
        for group in groups
    )


@pytest.mark.parametrize("case", range(200))
def test_sorted_equals_brute_force_over_all_partitions(case):
    rng = np.random.default_rng(case)
    ranks, cost = int(rng.integers(1, 4)), COSTS[case % 3]
    lengths = rng.integers(1, 12, size=rng.integers(ranks, 8))
    max_samples = int(rng.integers(2, 6)) if case % 2 else None
    max_tokens = int(rng.integers(10, 40)) if case % 5 == 0 else None
    allowed = [
        cost_of(groups, cost)
        for groups in partitions(lengths.tolist(), ranks)
        if fits(groups, max_samples, max_tokens)
    ]
    if not allowed:
        with pytest.raises(ScheduleError):
            schedule_sorted(lengths, ranks, cost, max_samples, max_tokens)
        return
    found = schedule_sorted(lengths, ranks, cost, max_samples, max_tokens)
    groups = [lengths[group].tolist() for group in found]
    assert sorted(np.concatenate(found)) == list(range(len(lengths)))
    assert len(groups) == ranks
    assert all(groups)
    assert fits(groups, max_samples, max_tokens)
    assert cost_of(groups, cost) == pytest.approx(min(allowed), rel=1e-9)
    assert lower_bound(lengths, ranks, cost) <= cost_of(groups, cost) * (1 + 1e-12)


def prefix_case(case):
    rng = np.random.default_rng(1000 + case)
    ranks, buffer = int(rng.integers(1, 5)), int(rng.integers(2, 7))
    costs = prefix_costs(rng.integers(1, 30, size=(ranks, buffer)), COSTS[case % 3])
    b_min = int(rng.integers(1, 3))
    b_max = rng.integers(b_min, buffer + 1, size=ranks) if case % 2 else None
    most = int(b_max.sum()) if case % 2 else ranks * buffer
    total = int(rng.integers(ranks * b_min, max(ranks * b_min, most) + 1))
    return costs, total, b_min, b_max


@pytest.mark.parametrize("case", range(200))
def test_prefix_equals_brute_force_over_all_counts(case):
    costs, total, b_min, b_max = prefix_case(case)
    allowed = all_counts(costs, total, b_min, b_max)
    found = schedule_prefix(costs, total, b_min, b_max)
    assert found.sum() == total
    assert (found >= b_min).all()
    assert b_max is None or (found <= b_max).all()
    chosen = costs[np.arange(len(costs)), found - 1]
    assert chosen.max() == min(max(values) for values in allowed)


def test_ties_of_prefix_go_to_the_lower_variance():
    equal = 0
    for case in range(200):
        costs, total, b_min, b_max = prefix_case(case)
        allowed = all_counts(costs, total, b_min, b_max)
        best = min(max(values) for values in allowed)
        variance = min(np.var(values) for values in allowed if max(values) == best)
        found = schedule_prefix(costs, total, b_min, b_max)
        chosen = costs[np.arange(len(costs)), found - 1]
        equal += np.var(chosen) <= variance * (1 + 1e-9) + 1e-9
    assert equal >= 190


def all_counts(costs, total, b_min, b_max):
    ranks, buffer = costs.shape
    most = [buffer] * ranks if b_max is None else b_max
    counts = itertools.product(*(range(b_min, int(m) + 1) for m in most))
    return [[costs[rank][k - 1] for rank, k in enumerate(ks)] for ks in counts if sum(ks) == total]


@pytest.mark.parametrize(("ranks", "samples"), [(8, 64), (512, 4096)])
def test_large_schedules_use_every_sample_once_and_beat_equal_counts(ranks, samples):
    lengths = np.random.default_rng(0).lognormal(2.4, 0.6, samples).astype(int) + 2
    cost = Cost()
    groups = schedule_sorted(lengths, ranks, cost)
    assert sorted(np.concatenate(groups)) == list(range(samples))
    largest = max(cost.of(len(group), lengths[group].max()) for group in groups)
    equal = max(len(part) * part.max() for part in lengths.reshape(ranks, -1))
    assert lower_bound(lengths, ranks, cost) <= largest < equal / 1.5


def test_tokens_and_their_square_have_the_same_optimum():
    lengths = np.random.default_rng(1).integers(3, 60, size=(4, 32))
    counts = [
        schedule_prefix(prefix_costs(lengths, Cost(kind)), 64) for kind in ("tokens", "tokens_sq")
    ]
    chosen = [np.maximum.accumulate(lengths, axis=1)[range(4), k - 1] * k for k in counts]
    assert max(chosen[0]) == max(chosen[1])


def test_a_cap_on_tokens_lets_short_samples_come_in_larger_groups():
    lengths = np.array([[40, 40, 40, 40], [5, 5, 5, 5]])
    assert token_caps(lengths, 80).tolist() == [2, 4]
    groups = schedule_sorted(np.array([40, 40, 5, 5, 5, 5, 5, 5, 5, 5]), 2, Cost(), max_tokens=80)
    assert sorted(len(group) for group in groups) == [2, 8]


def test_coefficients_are_found_again_and_never_negative():
    counts, longest = np.array([4, 8, 16, 4, 8, 16]), np.array([8, 8, 8, 64, 64, 64])
    times = 2 + 0.5 * counts * longest + 0.01 * counts * longest**2
    assert fit_cost(counts, longest, times).coefficients == pytest.approx((2, 0.5, 0.01))
    concave = fit_cost(counts, longest, np.sqrt(times))
    assert min(concave.coefficients) >= 0
    assert max(fit_cost(counts, longest, 1.0 / (counts * longest)).coefficients[1:]) > 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: schedule_sorted([3, 4], 3, Cost()), "2 samples leave some of 3 ranks without"),
        (lambda: schedule_sorted([90, 4], 2, Cost(), max_tokens=80), "90 tokens is above the limit"),
        (lambda: schedule_sorted([9] * 9, 2, Cost(), max_samples=4), "at most 4 samples each"),
        (lambda: schedule_prefix(np.ones((2, 4)), 9), "8 samples together"),
        (lambda: schedule_prefix(np.ones((4, 4)), 3), "4 ranks with at least 1"),
        (lambda: schedule_prefix(np.ones((2, 4)), 4, b_min=0), "b_min 0"),
        (lambda: schedule_prefix(np.ones((2, 4)), 4, 2, [4, 1]), "rank 1 may take 1"),
    ],
)  # fmt: skip
def test_what_is_impossible_is_said(call, message):
    with pytest.raises(ScheduleError, match=message):
        call()
