"""What the client records, against a server that tells when it sent what."""

import json

import numpy as np
import pytest

from scripts.lib.kinds.inference.client import Target, run_load
from scripts.lib.kinds.inference.config import Load
from scripts.lib.kinds.inference.metrics import (
    count_output,
    figures,
    itl_ms,
    other_hardware,
    summarize_latency,
    tpot_ms,
    warnings_of,
    wrong_lengths,
)
from scripts.lib.kinds.inference.prompts import Prompt
from tests.unit.serving_cases import scripted_server


def prompts(count):
    return [Prompt(f" word{i}" * 4, 4) for i in range(count)]


def load_of(**changes):
    return Load(**{"request_timeout_s": 20.0, "stall_timeout_s": 5.0, **changes})


def measured(url, count=20, conc=4, osl=8, **changes):
    load = run_load(Target(url, "m", osl), prompts(count), conc, load_of(**changes))
    count_output(load.records, [record.text.count(" ") for record in load.records], osl)
    return load


def test_latencies_are_those_of_the_server(tmp_path):
    times = tmp_path / "times.jsonl"
    with scripted_server("--ttft", "0.1", "--itl", "0.04", "--times", str(times)) as url:
        records = measured(url, count=12, conc=2).records
    told = {line["prompt"]: line for line in map(json.loads, times.read_text().splitlines())}
    off = {"ttft": [], "tpot": [], "itl": []}
    for record, prompt in zip(records, prompts(12), strict=True):
        line = told[prompt.text]
        sent = np.asarray(line["sent"]) * 1000
        off["ttft"].append((record.chunks_ms[0], sent[0] - line["came"] * 1000))
        off["tpot"].append((tpot_ms(record), (sent[-1] - sent[0]) / 7))
        off["itl"] += zip(itl_ms(record), np.diff(sent), strict=True)
    # Against the server's own clock; the median, because the machine may be busy for a moment.
    for name, pairs in off.items():
        found, true = np.median([p[0] for p in pairs]), np.median([p[1] for p in pairs])
        print(f"{name}: {found:.3f} ms, by the server {true:.3f} ms")
        assert abs(found - true) <= max(2, 0.02 * true), name


def test_a_closed_loop_keeps_the_concurrency_and_no_more(tmp_path):
    with scripted_server("--ttft", "0.05") as url:
        load = measured(url, count=20, conc=5, osl=1)
    spans = [(r.sent_s, r.sent_s + r.e2el_ms / 1000) for r in load.records]
    in_flight = [sum(a <= start < b for a, b in spans) for start, _ in spans]
    assert max(in_flight) == 5
    assert np.median(in_flight[5:]) >= 4


def test_an_open_loop_sends_at_the_rate():
    with scripted_server() as url:
        load = measured(url, count=200, conc=50, osl=1, request_rate=200.0)
        again = measured(url, count=200, conc=50, osl=1, request_rate=200.0)
    gaps = np.diff([record.sent_s for record in load.records])
    assert 150 < 1 / gaps.mean() < 260
    assert 0.6 < gaps.std() / gaps.mean() < 1.5  # as of random arrivals; regular ones have 0
    assert sum(r.queued_ms for r in again.records) >= 0


def test_failures_are_counted_with_their_reason():
    with scripted_server("--fail-every", "25") as url:
        load = measured(url, count=50)
    failed = [record.error for record in load.records if record.error]
    assert failed == ["HTTP 500: scripted failure"] * 2
    assert figures(load, 1)["output_tokens"] == 48 * 8
    assert "2 of 50 requests failed, the first: HTTP 500" in warnings_of(load, 8)[0]


def test_too_many_failures_end_the_load_early():
    with scripted_server("--fail-every", "2") as url:
        load = measured(url, count=100, conc=1)
    assert len(load.records) == 12  # the sixth failure is more than 5 % of 100


def test_a_stalled_stream_ends_within_its_limit():
    with scripted_server("--stall-after", "3") as url:
        load = measured(url, count=2, conc=2, stall_timeout_s=0.3)
    assert {r.error for r in load.records} == {"the answer stalled: nothing came for 0.3 s"}
    assert load.duration_s < 5


def test_a_request_has_a_time_limit():
    with scripted_server("--itl", "0.1") as url:
        load = measured(url, count=1, conc=1, osl=100, request_timeout_s=0.5)
    assert load.records[0].error == "no whole answer within 0.5 s"


def test_a_refused_connection_is_a_reason():
    load = measured("http://127.0.0.1:9", count=20, conc=1)
    assert "Cannot connect" in load.records[0].error
    assert len(load.records) == 2


def test_a_server_that_dies_is_a_reason():
    with scripted_server("--die-at", "3") as url:
        load = measured(url, count=20, conc=1)
    assert [bool(record.error) for record in load.records] == [False, False, True, True]


def test_answers_of_another_length_are_flagged():
    with scripted_server("--short", "2") as url:
        load = measured(url, count=4)
    assert wrong_lengths(load.records, 8) == 4
    assert warnings_of(load, 8)[0] == "4 answers are not 8 tokens long, but e.g. 6"


def test_a_stall_of_the_server_is_told():
    with scripted_server() as url:
        load = measured(url, count=10)
    load.records[0].e2el_ms += 100 * max(record.e2el_ms for record in load.records)
    assert "stalled or the machine was disturbed" in " ".join(warnings_of(load, 8))


def test_the_key_is_sent_and_nothing_without_one(tmp_path, monkeypatch):
    times = tmp_path / "times.jsonl"
    with scripted_server("--times", str(times)) as url:
        monkeypatch.delenv("SWEEPMAKE_API_KEY", raising=False)
        measured(url, count=1)
        monkeypatch.setenv("SWEEPMAKE_API_KEY", "s3cret")
        measured(url, count=1)
    keys = [json.loads(line)["key"] for line in times.read_text().splitlines()]
    assert keys == [None, "Bearer s3cret"]


def test_percentiles_and_rates():
    values = summarize_latency([1.0, 2.0, 3.0, 4.0])
    assert (values["mean"], values["median"]) == (2.5, 2.5)
    assert values["std"] == pytest.approx(1.291, abs=1e-3)
    assert values["p90"] == pytest.approx(3.7)
    assert summarize_latency([])["p99_9"] is None
    with scripted_server("--itl", "0.01") as url:
        load = measured(url, count=8, conc=4)
    found = figures(load, num_gpus=2)
    assert found["output_throughput"] == pytest.approx(8 * 8 / load.duration_s)
    assert found["tput_per_gpu"] == pytest.approx((8 * 8 + 8 * 4) / load.duration_s / 2)
    assert found["intvty"] == pytest.approx(1000 / found["median_tpot_ms"])


ODD_EVENTS = [
    "null", "5", "[1]", '{"choices": 5}', '{"choices": [5]}', '{"choices": [{"delta": 5}]}',
    '{"choices": [{"text": ["a"]}]}', "{",
]  # fmt: skip


@pytest.mark.parametrize("event", ODD_EVENTS)
def test_an_event_of_another_form_is_a_reason(event):
    with scripted_server("--first-event", event) as url:
        load = measured(url, count=1)
    assert load.records[0].error


@pytest.mark.parametrize(
    "event",
    ['{"choices": null}', '{"choices": []}', '{"choices": [{"delta": null}]}', '{"usage": 5}'],
)
def test_an_event_without_text_is_passed_over(event):
    with scripted_server("--first-event", event) as url:
        load = measured(url, count=1)
    assert not load.records[0].error
    assert load.records[0].output_tokens == 8


@pytest.mark.parametrize("texts", [[" t", "he"], [" the", "", ""]])
def test_the_servers_count_is_the_one_of_the_rates(texts):
    """Halves of words that re-tokenise to fewer; special tokens that print as nothing."""
    with scripted_server("--itl", "0.02", "--texts", json.dumps(texts)) as url:
        load = measured(url, count=4, osl=12)
    read = {record.text.count(" ") for record in load.records}
    assert {record.text_tokens for record in load.records} == read != {12}
    assert {record.output_tokens for record in load.records} == {12}
    assert figures(load, 1)["output_tokens"] == 4 * 12
    assert 19 < figures(load, 1)["median_tpot_ms"] < 40
    (told,) = warnings_of(load, 12)
    assert told.startswith(f"the server made 48 tokens by its own count, {4 * read.pop()} by the")


@pytest.mark.parametrize("usage", [0, -3, 5000])
def test_an_impossible_count_of_the_server_is_not_taken(usage):
    with scripted_server("--usage", str(usage)) as url:
        load = measured(url, count=4)
    assert {record.output_tokens for record in load.records} == {8}
    assert "count of tokens is impossible in 4 answers" in " ".join(warnings_of(load, 8))


def test_an_answer_in_one_event_has_no_time_per_token():
    with scripted_server("--ttft", "0.05", "--at-once") as url:
        load = measured(url, count=4)
    assert figures(load, 1)["output_tokens"] == 4 * 8
    assert figures(load, 1)["median_tpot_ms"] is figures(load, 1)["intvty"] is None
    assert "4 answers came all at once: the server does not stream" in warnings_of(load, 8)


@pytest.mark.parametrize("end", ["", "abort", "content_filter"])
def test_only_known_ends_are_good(end):
    with scripted_server("--end", end, "--no-done") as url:
        load = measured(url, count=1)
    reason = f"ended with finish_reason {end!r}" if end else "ended without an end mark"
    assert load.records[0].error == f"the answer {reason}"


def test_an_error_as_an_object_is_a_reason():
    event = {"object": "error", "message": "context length is 4096", "type": "BadRequestError"}
    with scripted_server("--first-event", json.dumps(event)) as url:
        load = measured(url, count=1)
    assert load.records[0].error == "the server told an error: context length is 4096"


def test_reasoning_is_output():
    with scripted_server("--reasoning") as url:
        load = measured(url, count=1)
    assert load.records[0].text == " the" * 8
    assert len(load.records[0].chunks_ms) == 8


@pytest.mark.parametrize(
    ("runner", "device", "same"),
    [
        ("h200", "NVIDIA H200", True),
        ("H100-rack1_0", "NVIDIA H100 80GB HBM3", True),
        ("a100", "NVIDIA A100-SXM4-80GB", True),
        ("mi300x", "AMD Instinct MI300X", True),
        ("gb200-nvl72_0", "NVIDIA GB200", True),
        ("h200", "NVIDIA H100 80GB HBM3", False),
        ("b200", "NVIDIA GB200", False),
        ("h20", "NVIDIA H200", False),
        ("mi300x", "AMD EPYC 7B13", False),
        ("cpu", "AMD EPYC 7B13", True),
        ("lab2-node17", "NVIDIA L4", True),
    ],
)
def test_a_runner_of_other_hardware_is_told(runner, device, same):
    told = [f"the runner is {runner}, but the measured device is {device}"]
    assert other_hardware(runner, device) == ([] if same else told)
