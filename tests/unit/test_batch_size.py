"""Real probes on the CPU: what the program finds, and what it writes."""

import json

from scripts import find_batch_size
from scripts.lib.batch_size.probes import ProbeServer
from scripts.lib.batch_size.result import BatchSizeResult
from scripts.lib.results.reading import read_result


def find(run, tokens, tmp_path, *options):
    output = tmp_path / "batch_size.json"
    arguments = ["--run", str(run), "--data", str(tokens), "--output", str(output), *options]
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
    assert all(p.peak_memory_mib <= 1.5 for p in found.probes if p.outcome == "ok")
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
    assert f"{found.missing_mib:.1f} MiB are missing" in found.reason
    more = find(write_run(**auto(memory_budget_mib=0.05 + found.missing_mib)), tokens, tmp_path)
    less = find(write_run(**auto(memory_budget_mib=0.049 + found.missing_mib)), tokens, tmp_path)
    assert (more.batch_size, less.batch_size) == (1, None)
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["status"] == "oom"


def test_a_probe_out_of_time_has_failed_and_is_no_oom(write_run, tokens, tmp_path):
    search = {"batch_size_search": {"upper_limit": 4, "probe_timeout_s": 0.001}}
    found = find(write_run(**auto(**search)), tokens, tmp_path)
    assert (found.status, found.batch_size) == ("failed", None)
    assert "no result within 0.001 s" in found.reason


def test_a_number_is_written_without_probing(write_run, tokens, tmp_path):
    found = find(write_run(batch_size=5), tokens, tmp_path)
    assert (found.batch_size, found.strategy, found.probes) == (5, "fixed", [])


def test_the_guide_s_search_has_its_start_and_its_attempts(write_run, tokens, tmp_path, caplog):
    factors = {"context_length": [{"up_to": 8, "factor": 1.0}, {"factor": 0.3}]}
    search = {"strategy": "estimate", "upper_limit": 64, "scale_factors": factors}
    caplog.set_level("INFO")
    found = find(write_run(**auto(batch_size_search=search)), tokens, tmp_path)
    assert found.start == 19
    assert [probe.batch_size for probe in found.probes] == [19, 28, 42, 63, 64]
    assert (found.batch_size, found.certified) == (64, True)
    assert "estimated: 19, starting with: 19" in caplog.text
    assert "✓ Batch size 28 works for pico context_length=16" in caplog.text
    assert "Trying larger batch size: 42..." in caplog.text


def test_without_adjustment_the_upper_limit_is_taken(write_run, tokens, tmp_path):
    search = {"auto_adjust_batch_size": False, "upper_limit": 32}
    found = find(write_run(**auto(batch_size_search=search)), tokens, tmp_path)
    assert (found.batch_size, found.strategy, found.probes) == (32, "fixed", [])


def test_repeats_knee_and_margin_are_recorded(write_run, tokens, tmp_path):
    search = {"upper_limit": 4, "repeat": 3, "knee": True, "margin_mib": 0.5, "use": "recommended"}
    run = write_run(**auto(batch_size_search=search, memory_budget_mib=1.5))
    found = find(run, tokens, tmp_path)
    assert sum(probe.batch_size == found.batch_size for probe in found.probes) == 3
    assert [timing.batch_size for timing in found.timings] == [1, 2, 4]
    assert found.knee_batch_size in (1, 2, 4)
    peaks = {probe.batch_size: probe.peak_memory_mib for probe in found.probes}
    assert found.recommended_batch_size == 1 or peaks[found.recommended_batch_size] <= 1.0


def test_a_knee_that_cannot_be_timed_leaves_what_was_found(
    write_run, tokens, tmp_path, monkeypatch
):
    def fail(server, batch_size):
        raise RuntimeError("throughput failed: no result within 600 s")

    monkeypatch.setattr(ProbeServer, "throughput", fail)
    found = find(
        write_run(**auto(batch_size_search={"upper_limit": 2, "knee": True})), tokens, tmp_path
    )
    assert (found.status, found.batch_size, found.certified) == ("ok", 2, True)
    assert (found.knee_batch_size, found.timings) == (None, [])


def test_without_a_token_file_the_embedded_tokens_are_taken(write_run, tokens, tmp_path):
    run, output = write_run(**auto(batch_size_search={"upper_limit": 2})), tmp_path / "found.json"
    assert find_batch_size.main(["--run", str(run), "--output", str(output)]) == 0
    assert read_result(output, BatchSizeResult).probes[-1].batch_size == 2


def test_a_neighbour_is_for_the_guided_search(write_run, tmp_path, capsys):
    run, file = write_run(**auto(batch_size_search={"strategy": "gallop"})), tmp_path / "x.json"
    arguments = ["--run", run, "--output", file, "--neighbour", file]
    assert find_batch_size.main([str(argument) for argument in arguments]) == 2
    assert "--neighbour: needs strategy guided, not gallop" in capsys.readouterr().err


def test_a_budget_method_of_another_device_is_unsupported(write_run, tokens, tmp_path):
    search = {"budget_method": "cuda"}
    found = find(write_run(**auto(batch_size_search=search)), tokens, tmp_path)
    assert (found.status, found.batch_size) == ("unsupported", None)
    assert "budget_method cuda is not for a cpu device" in found.reason


def test_the_command_line_comes_before_the_run(write_run, tokens, tmp_path):
    options = ("--strategy", "gallop", "--memory-budget-mib", "1.5")
    found = find(write_run(**auto()), tokens, tmp_path, *options)
    assert (found.strategy, found.budget_mib) == ("gallop", 1.5)
    assert found.settings["memory_budget_mib"] == 1.5
    assert [probe.batch_size for probe in found.probes][:3] == [1, 2, 4]
