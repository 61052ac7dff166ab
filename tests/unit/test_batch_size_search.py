"""Searches on simulated memory: exact, certified, and never above a known failure."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from scripts.lib.batch_size.choices import knee, knee_sizes, recommend, settle_recommendation
from scripts.lib.batch_size.guided import Guided
from scripts.lib.batch_size.memory_line import Line, fit_line
from scripts.lib.batch_size.search import Outcome, Search, find_largest
from scripts.lib.batch_size.strategies import estimate, gallop
from scripts.lib.sweeps.batch_size import BatchSizeSearch, ScaleFactors

BUDGET = 1000.0
limits = st.tuples(st.integers(1, 64), st.integers(0, 4096)).map(lambda pair: (pair[0], sum(pair)))


@st.composite
def memories(draw):
    """Peak memory that never falls with the batch size: lines, bends, steps, kinks, plateaus."""
    fixed, slope = draw(st.floats(0, 1500)), draw(st.floats(0, 50))
    bend, power = draw(st.sampled_from([0, 0, 1e-4, 0.1, 3])), draw(st.floats(0.2, 3))
    step = draw(st.sampled_from([1, 1, 2, 8, 100]))
    kink, more = draw(st.floats(0, 5000)), draw(st.sampled_from([0, 0, 1, 40]))

    def peak(size):
        size = -(-size // step) * step
        return fixed + slope * size + bend * size**power + more * max(0, size - kink)

    return peak


class World:
    """A probe of some memory that notes what it was asked."""

    def __init__(self, memory):
        self.memory, self.asked = memory, []

    def __call__(self, size):
        self.asked.append(size)
        peak = self.memory(size)
        return Outcome("ok", peak) if peak <= BUDGET else Outcome("oom", reason="too large")

    def largest(self, lower, upper):
        return max((s for s in range(lower, upper + 1) if self.memory(s) <= BUDGET), default=None)


def lines():
    numbers = st.floats(-2000, 2000)
    return st.one_of(st.none(), st.builds(Line, numbers, numbers))


@given(memory=memories(), limits=limits, line=lines())
@settings(max_examples=500)
def test_guided_is_exact_whatever_line_it_is_given(memory, limits, line):
    world = World(memory)
    search = find_largest(Search(world, limits[1], limits[0], BUDGET), Guided(line))
    assert search.found == world.largest(*limits)
    assert search.certified
    assert_sound(world, limits)
    assert len(world.asked) <= 14 + 2 * limits[1].bit_length()


@given(memory=memories(), limits=limits)
@settings(max_examples=200)
def test_gallop_is_exact(memory, limits):
    world = World(memory)
    search = find_largest(Search(world, limits[1], limits[0], BUDGET), gallop)
    assert search.found == world.largest(*limits)
    assert search.certified
    assert_sound(world, limits)
    assert len(world.asked) <= 2 * limits[1].bit_length() + 1


@given(memory=memories(), limits=limits, start=st.integers(0, 5000), attempts=st.integers(1, 40))
@settings(max_examples=200)
def test_estimate_is_exact_or_out_of_attempts_and_never_unsafe(memory, limits, start, attempts):
    world = World(memory)
    strategy = estimate(start, attempts)
    search = find_largest(Search(world, limits[1], limits[0], BUDGET), strategy)
    assert len(world.asked) <= attempts
    assert_sound(world, limits)
    if search.certified:
        assert search.found == world.largest(*limits)
    else:
        assert len(world.asked) == attempts
        assert search.found in world.asked
        assert memory(search.found) <= BUDGET


def assert_sound(world, limits):
    """No size twice, none outside the limits, none at or above a known failure."""
    assert len(set(world.asked)) == len(world.asked)
    failing = limits[1] + 1
    for size in world.asked:
        assert limits[0] <= size < failing
        if world.memory(size) > BUDGET:
            failing = size


def test_a_line_saves_the_opening():
    for line, probes in ((None, [1, 8, 24, 49, 50]), (Line(10, 20), [49, 50])):
        world = World(lambda size: 10 + 20 * size)
        find_largest(Search(world, 64, budget_bytes=BUDGET), Guided(line))
        assert world.asked == probes


@pytest.mark.parametrize(
    ("largest", "asked"),
    [(63, [19, 28, 42, 63, 64]), (17, [19, 9, 14, 16, 17]), (23, [19, 28, 23, 25, 24])],
)
def test_estimate_goes_the_way_of_the_guide(largest, asked):
    world = World(lambda size: BUDGET if size <= largest else BUDGET + 1)
    find_largest(Search(world, 64, budget_bytes=BUDGET), estimate(19, 5))
    assert world.asked == asked


def test_estimate_ends_at_the_lower_limit_rather_than_with_nothing():
    world = World(lambda size: 400 * size)
    search = find_largest(Search(world, 4096, budget_bytes=BUDGET), estimate(4096, 5))
    assert world.asked == [4096, 2048, 1024, 512, 1]
    assert (search.found, search.certified) == (1, False)


@pytest.mark.parametrize("outcome", ["failed", "unsupported"])
@pytest.mark.parametrize("strategy", [gallop, Guided(), estimate(4)])
def test_a_failure_that_is_no_oom_ends_the_search(strategy, outcome):
    search = Search(lambda size: Outcome(outcome, reason="boom"), 64, budget_bytes=BUDGET)
    find_largest(search, strategy)
    assert search.failure.outcome.reason == "boom"
    assert (search.found, search.certified, len(search.attempts)) == (None, False, 1)


def test_a_known_failure_cannot_be_probed_again():
    search = Search(World(lambda size: 300 * size), 64)
    search.attempt(4)
    for size in (0, 4, 5, 65):
        with pytest.raises(ValueError, match="is not between"):
            search.attempt(size)


def test_limits_without_a_size_are_refused():
    with pytest.raises(ValueError, match="no batch size from 5 to 4"):
        Search(World(lambda size: 0), 4, 5)


@given(flaky=st.integers(1, 60), repeat=st.integers(2, 5))
def test_a_size_that_fits_by_luck_is_left_by_repeated_probes(flaky, repeat):
    """Sizes from `flaky` to 60 fit the first time they are tried and not again."""
    asked = []

    def probe(size):
        asked.append(size)
        fits = size < flaky or (size <= 60 and asked.count(size) == 1)
        return Outcome("ok", 10.0 * size) if fits else Outcome("oom")

    search = find_largest(Search(probe, 64, budget_bytes=BUDGET), Guided(), repeat)
    assert search.certified
    assert search.found == (flaky - 1 or None)
    if search.found:
        assert search.times_fitted(search.found) == repeat


@given(memory=memories(), margin=st.floats(0, 0.9), upper=st.integers(1, 300))
def test_a_settled_recommendation_was_seen_within_the_margin(memory, margin, upper):
    search = find_largest(Search(World(memory), upper, budget_bytes=BUDGET), Guided())
    if search.found is None:
        with pytest.raises(ValueError, match="nothing fits"):
            recommend(search, BUDGET)
        return
    allowed = (1 - margin) * BUDGET
    largest, certified = search.found, search.certified
    size = settle_recommendation(search, allowed)
    assert (search.found, search.certified) == (largest, certified)
    fitting = [s for s in range(1, largest + 1) if memory(s) <= allowed]
    assert size == max(fitting, default=1)


@given(slope=st.floats(0.1, 10), fixed=st.floats(0, 900), margin=st.floats(0, 0.5))
def test_the_recommendation_is_the_largest_within_the_margin_on_a_line(slope, fixed, margin):
    memory = Line(fixed, slope).at
    search = find_largest(Search(World(memory), 512, budget_bytes=BUDGET), Guided())
    allowed = (1 - margin) * BUDGET
    if search.found is None or memory(1) > allowed:
        return
    size = recommend(search, allowed)
    assert memory(size) <= allowed * (1 + 1e-9)
    assert size == search.found or memory(size + 1) > allowed * (1 - 1e-9)


def test_the_line_through_exact_points_is_exact():
    line = fit_line([(size, 7.0 + 3.0 * size) for size in (1, 2, 8)])
    assert (line.intercept, line.slope) == (pytest.approx(7), pytest.approx(3))
    assert fit_line([(1, 5.0), (1, 6.0)]) is None


def test_the_knee_is_the_smallest_size_near_the_best_throughput():
    assert knee_sizes(20) == [1, 2, 5, 10, 20]
    assert knee({1: 10.0, 2: 19.0, 5: 95.0, 10: 96.0, 20: 100.0}) == 5
    assert math.isclose(knee({7: 3.0}), 7)


@pytest.mark.parametrize(
    ("settings", "start"),
    [
        *(({"max_crops": n}, size) for n, size in zip(
            (2, 4, 6, 8, 10, 12, 13), (64, 51, 38, 32, 25, 19, 16), strict=True)),
        *(({"top_k": n}, size) for n, size in ((2, 64), (4, 57), (8, 51), (9, 44))),
        ({"num_active_blocks": 12, "total_blocks": 16}, 48),
        ({"max_crops": 12, "top_k": 8}, 15),
        ({"context_length": 4096}, 64),
    ],
)  # fmt: skip
def test_the_scale_factors_are_those_of_the_guide(settings, start):
    assert ScaleFactors().start(settings, 64) == start


def test_scale_factors_must_rise_and_end_open():
    for table in ([(4, 0.5), (2, 0.4), (None, 0.3)], [(4, 0.5)], [(None, 0.5), (None, 0.4)]):
        lines = [{"factor": factor, "up_to": up_to} for up_to, factor in table]
        with pytest.raises(ValidationError, match="must rise from line to line"):
            ScaleFactors(top_k=lines)


def test_limits_must_leave_a_size():
    with pytest.raises(ValidationError, match="lower_limit 5 is above upper_limit 4"):
        BatchSizeSearch(lower_limit=5, upper_limit=4)
