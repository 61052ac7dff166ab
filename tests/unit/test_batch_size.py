"""The search finds the largest batch and proves it; the probes are real."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts import find_batch_size
from scripts.lib.batch_size.search import Outcome, fit_line, gallop, recommend
from scripts.lib.results.batch_size import BatchSizeResult
from scripts.lib.results.reading import read_result


def world(largest, intercept=10.0, slope=2.0):
    """A probe of linear memory whose largest fitting size is `largest`."""
    seen = []

    def probe(size):
        seen.append(size)
        if size > largest:
            return Outcome("oom", reason="too large")
        return Outcome("ok", peak_bytes=intercept + slope * size)

    return probe, seen


@given(largest=st.integers(0, 5000), upper=st.integers(1, 4096))
def test_gallop_is_exact_and_certified(largest, upper):
    probe, seen = world(largest)
    search = gallop(probe, upper)
    assert search.largest == min(largest, upper)
    assert search.certified
    assert len(seen) == len(set(seen)) <= 2 * max(1, upper.bit_length()) + 1
    assert all(1 <= size <= upper for size in seen)


def test_a_failure_that_is_no_oom_ends_the_search():
    search = gallop(lambda size: Outcome("failed" if size == 4 else "ok", 1.0, "boom"), 64)
    assert search.failure.reason == "boom"
    assert search.largest == 2
    assert not search.certified


@given(
    largest=st.integers(1, 300),
    margin=st.floats(0, 0.5),
    intercept=st.floats(0, 100),
    slope=st.floats(0.1, 10),
)
def test_the_recommended_size_fits_into_the_margin(largest, margin, intercept, slope):
    budget = intercept + slope * (largest + 0.5)
    search = gallop(world(largest, intercept, slope)[0], 512)
    size = recommend(search, budget, margin)
    assert 1 <= size <= search.largest
    allowed = (1 - margin) * budget
    assert intercept + slope * size <= allowed * (1 + 1e-9) or size == 1
    if size < search.largest:
        assert intercept + slope * (size + 1) > allowed * (1 - 1e-9)


def test_the_line_through_exact_points_is_exact():
    outcomes = {size: Outcome("ok", 7.0 + 3.0 * size) for size in (1, 2, 8)}
    assert fit_line(outcomes) == pytest.approx((7.0, 3.0))
    assert fit_line({1: Outcome("ok", 5.0)}) is None


def find(run, tokens, tmp_path):
    output = tmp_path / "batch_size.json"
    arguments = ["--run", str(run), "--tokens", str(tokens), "--output", str(output)]
    assert find_batch_size.main(arguments) == 0
    return read_result(output, BatchSizeResult)


def auto(**changes):
    return {
        "batch_size": "auto",
        "device": "cpu",
        "batch_size_search": {"upper_limit": 16},
    } | changes


def test_real_probes_find_a_certified_maximum(write_run, tokens, tmp_path):
    found = find(write_run(**auto(memory_budget_mib=1.5)), tokens, tmp_path)
    assert found.status == "ok"
    assert found.certified
    assert 1 < found.batch_size < 16
    outcomes = {probe.batch_size: probe.outcome for probe in found.probes}
    assert outcomes[found.batch_size] == "ok"
    assert outcomes[found.batch_size + 1] == "oom"
    assert all(p.peak_mib <= 1.5 for p in found.probes if p.outcome == "ok")
    assert found.memory_model.slope_mib > 0
    assert 1 <= found.recommended_batch_size <= found.batch_size


def test_the_upper_limit_is_a_certificate_too(write_run, tokens, tmp_path):
    search = {"batch_size_search": {"upper_limit": 3}}
    found = find(write_run(**auto(**search)), tokens, tmp_path)
    assert (found.batch_size, found.certified, found.upper_limit) == (3, True, 3)


def test_a_batch_of_one_that_does_not_fit_is_an_answer(write_run, tokens, tmp_path, capsys):
    found = find(write_run(**auto(memory_budget_mib=0.05)), tokens, tmp_path)
    assert (found.status, found.batch_size) == ("oom", None)
    assert "batch size 1 does not fit" in found.reason
    assert "MiB" in found.reason
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["status"] == "oom"


def test_a_probe_out_of_time_has_failed_and_is_no_oom(write_run, tokens, tmp_path):
    search = {"batch_size_search": {"upper_limit": 4, "probe_timeout_s": 0.001}}
    found = find(write_run(**auto(**search)), tokens, tmp_path)
    assert (found.status, found.batch_size) == ("failed", None)
    assert "no result within 0.001 s" in found.reason


def test_a_number_is_written_without_probing(write_run, tokens, tmp_path):
    found = find(write_run(batch_size=5), tokens, tmp_path)
    assert (found.batch_size, found.strategy, found.probes) == (5, "fixed", [])
