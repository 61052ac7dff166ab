"""Real probes on the CPU: what the program finds, and what it writes."""

import json

from scripts import find_batch_size
from scripts.lib.results.batch_size import BatchSizeResult
from scripts.lib.results.reading import read_result


def find(run, tokens, tmp_path):
    output = tmp_path / "batch_size.json"
    arguments = ["--run", str(run), "--tokens", str(tokens), "--output", str(output)]
    assert find_batch_size.main(arguments) == 0
    return read_result(output, BatchSizeResult)


def auto(**changes):
    return {"batch_size": "auto", "device": "cpu", "batch_size_search": {"upper_limit": 16}} | changes


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
