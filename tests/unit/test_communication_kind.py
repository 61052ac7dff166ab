"""Communication runs: bandwidths, checks of results, rows, and what cannot be measured."""

import json
import os
import signal
import subprocess
import sys
import time

import pandas as pd
import psutil
import pytest
import torch
import torch.multiprocessing

from scripts import benchmark_communication
from scripts.lib.config import InputError, expand, load_config, run_id
from scripts.lib.kinds.communication.bandwidth import bandwidths, bus_factor, fit_line
from scripts.lib.kinds.communication.config import CommunicationRun
from scripts.lib.kinds.communication.figures import bandwidth
from scripts.lib.kinds.communication.kind import Communication
from scripts.lib.kinds.communication.outcome import collect_metrics, wrong_reason
from scripts.lib.summary.rows import detailed_rows_of
from tests.conftest import ROOT
from tests.unit import communication_ranks

OPERATIONS = ["all_reduce", "all_gather", "reduce_scatter", "broadcast", "send_recv"]
QUICK = {"message_bytes": [1024, 65536], "num_warmups": 1, "num_trials": 6, "num_iterations": 2}


@pytest.mark.parametrize(
    ("operation", "ranks", "factor"),
    [("all_reduce", 2, 1.0), ("all_reduce", 4, 1.5), ("all_reduce", 8, 1.75), ("all_gather", 4, 0.75),
     ("reduce_scatter", 2, 0.5), ("broadcast", 8, 1.0), ("send_recv", 2, 1.0), ("all_reduce", 1, 1.0)],
)  # fmt: skip
def test_factors_are_those_of_nccl_tests(operation, ranks, factor):
    assert bus_factor(operation, ranks) == factor


def test_bandwidths_by_hand():
    # 8 MB in 2 ms are 4 GB/s; an all-reduce of 4 ranks moves 1.5 times as much on every link.
    assert bandwidths("all_reduce", 4, 8_000_000, 2000) == (4.0, 6.0)


def test_the_fit_finds_a_line_and_says_how_far_it_is_off():
    sizes = [1 << 10, 1 << 15, 1 << 20, 1 << 24]
    exact = [50 + 300 * size / (1 << 20) for size in sizes]
    alpha, beta, error = fit_line(sizes, exact)
    assert (alpha, beta) == (pytest.approx(50), pytest.approx(300))
    assert error < 1e-9
    off = [t * (1.1 if i % 2 else 0.9) for i, t in enumerate(exact)]
    assert 0.05 < fit_line(sizes, off)[2] < 0.12
    assert fit_line([1024], [5.0]) is None
    assert min(fit_line([1, 1 << 20], [9.0, 3.0])[:2]) >= 0


def on_ranks(function, world, folder, **settings):
    """Run a function on real gloo ranks; returns what each wrote."""
    torch.multiprocessing.spawn(
        function, args=(world, str(folder), QUICK | settings), nprocs=world, join=True
    )
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(world)]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_arrives_right_on_two_ranks(operation, tmp_path):
    first, second = on_ranks(
        communication_ranks.measured, 2, tmp_path, operation=operation, dtype="bfloat16"
    )
    assert first == second, "times are those of the slowest rank, the same everywhere"
    assert [row[0] for row in first] == [1024, 65536]
    assert all(len(times) == 6 and min(times) > 0 and wrong == 0 for _, times, wrong in first)


def test_sizes_are_rounded_up_to_what_ranks_can_share(tmp_path):
    rows = on_ranks(
        communication_ranks.measured, 3, tmp_path, operation="all_gather", dtype="float64",
        message_bytes=[100],
    )  # fmt: skip
    assert {row[0][0] for row in rows} == {120}


def test_a_wrong_element_is_found_on_every_rank(tmp_path):
    settings = {"operation": "all_reduce", "message_bytes": [4096]}
    assert on_ranks(communication_ranks.corrupted, 2, tmp_path, **settings) == [1, 1]


def test_wrong_results_fail_the_run_with_a_reason():
    run = CommunicationRun.model_validate(QUICK)
    metrics = collect_metrics(run, [(1024, [5.0] * 6, 0), (65536, [9.0] * 6, 3)], "gloo", True)
    assert wrong_reason(metrics) == "3 elements of 65536 bytes arrived wrong"
    assert metrics.latency_us == 5.0
    assert (metrics.messages[0].median_time_ci_low_us, metrics.warnings) == (5.0, [])


@pytest.fixture
def benchmark(tmp_path):
    """Run the program on a run with these settings; returns exit code and result."""

    def call(**settings):
        run = CommunicationRun.model_validate(QUICK | {"device": "cpu"} | settings)
        folder = tmp_path / "run"
        folder.mkdir(exist_ok=True)
        content = {"run": run_id(run.model_dump()), "settings": run.model_dump()}
        (folder / "run.json").write_text(json.dumps(content))
        output = folder / "communication.json"
        arguments = ["--run", str(folder / "run.json"), "--output", str(output)]
        code = benchmark_communication.main(arguments)
        return code, Communication().read_result(output) if code == 0 else None

    return call


def test_four_ranks_have_a_row_for_each_size(benchmark):
    code, result = benchmark(ranks=4)
    assert (code, result.status) == (0, "ok")
    rows = detailed_rows_of(result, "s")
    assert [row["message_bytes"] for row in rows] == [1024, 65536]
    for row in rows:
        ratio = row["bus_bandwidth_gb_per_s"] / row["algorithm_bandwidth_gb_per_s"]
        assert ratio == pytest.approx(1.5)
        assert (
            row["median_time_ci_low_us"] <= row["median_time_us"] <= row["median_time_ci_high_us"]
        )
        assert (row["device"], row["requested_device"], row["backend"]) == ("cpu", "cpu", "gloo")
    if len(os.sched_getaffinity(0)) < 4:
        assert not result.metrics.pinned
        assert "4 ranks share fewer cores" in result.metrics.warnings[0]


def test_a_figure_says_that_it_leaves_series_out():
    def rows(count):
        times = dict.fromkeys(("", "_ci_low", "_ci_high"), 5.0)
        row = {"operation": "all_reduce", "message_bytes": 1024, "bus_bandwidth_gb_per_s": 0.2}
        row |= {f"median_time{end}_us": time for end, time in times.items()}
        return pd.DataFrame([row | {"run": f"r{n}", "ranks": n} for n in range(2, 2 + count)])

    figure = bandwidth(rows(9))
    assert figure.get_suptitle() == "the first 8 of 9 series"
    lines = [bars.lines[0] for bars in figure.axes[0].containers]
    styles = {(line.get_color(), line.get_marker(), line.get_linestyle()) for line in lines}
    assert len(styles) == len(lines) == 8
    assert bandwidth(rows(8)).get_suptitle() == ""


def test_nccl_without_gpus_is_unsupported(benchmark, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    code, result = benchmark(backend="nccl", device="auto")
    assert (code, result.status) == (0, "unsupported")
    assert result.reason == "backend nccl needs 2 CUDA devices, and this machine has fewer"


def test_a_killed_rank_is_a_fault_of_the_machine(tmp_path):
    run = CommunicationRun.model_validate(QUICK | {"device": "cpu", "num_trials": 100_000})
    (tmp_path / "run.json").write_text(
        json.dumps({"run": "r-00000000", "settings": run.model_dump()})
    )
    command = [sys.executable, "-m", "scripts.benchmark_communication", "--run", "run.json",
               "--output", "out.json"]  # fmt: skip
    process = psutil.Popen(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)},
                           stderr=subprocess.PIPE, text=True)  # fmt: skip
    deadline = time.monotonic() + 60
    while not (ranks := [p for p in process.children() if sum(p.cpu_times()[:2]) > 3]):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    ranks[0].send_signal(signal.SIGKILL)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "ended by signal 9" in error
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [({"operation": "all_to_all"}, "operation"), ({"ranks": 0}, "ranks"),
     ({"message_bytes": [1024, 1024]}, "message_bytes"), ({"message_bytes": []}, "message_bytes"),
     ({"backend": "nccl", "device": "cpu"}, "nccl is not for device: cpu"),
     ({"operation": "send_recv", "ranks": 1}, "send_recv needs at least 2"),
     ({"dtype": "fp8"}, "dtype")],
)  # fmt: skip
def test_bad_settings_are_one_line(change, message, tmp_path):
    sweep = {"kind": "communication"} | change
    (tmp_path / "c.yaml").write_text(json.dumps({"sweeps": {"s": sweep}}))
    with pytest.raises(InputError) as caught:
        expand(load_config([tmp_path / "c.yaml"]))
    (line,) = str(caught.value).splitlines()
    assert message in line


def test_axes_are_multiplied():
    expansion = expand(load_config([ROOT / "config/examples/communication.yaml"]))
    assert len(expansion.runs) == 10
    assert all(run.startswith(tuple(OPERATIONS)) for run in expansion.runs)
