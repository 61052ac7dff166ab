"""Data-parallel runs through the workflow, by hand, killed, resumed, and refused."""

import copy
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest

from scripts import benchmark_ddp, find_batch_size
from scripts.lib.batch_size.result import BatchSizeResult
from scripts.lib.config.runs import run_id
from scripts.lib.kinds.ddp.cache import open_text, write_text_cache
from scripts.lib.kinds.ddp.config import DdpRun
from scripts.lib.kinds.ddp.directories import metrics_of
from scripts.lib.kinds.ddp.records import read_run
from scripts.lib.kinds.ddp.result import DdpResult
from scripts.lib.results.reading import read_result
from tests.conftest import ROOT
from tests.workflows import Workflow

PICO = {"d_model": 16, "d_ff": 32, "num_layers": 1, "num_heads": 2}
SETTINGS = {"model": "pico", "global_batch": 8, "max_length": 32, "vocab": 300, "steps": 12,
            "warmup_steps": 2, "block_steps": 2, "device": "cpu"}  # fmt: skip
SWEEP = SETTINGS | {
    "kind": "ddp",
    "max_local_batch": "auto",
    "memory_budget_mib": 2,
    "seeds": [0, 1],
}
CONFIG = {"sizes": {"pico": PICO}, "sweeps": {"modes": SWEEP}}


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """Folder of the embedded text, tokenised for the runs of the tests."""
    folder = tmp_path_factory.mktemp("text")
    write_text_cache(DdpRun.model_validate(SETTINGS | {"size": PICO}), folder)
    return folder


def write_run(folder, **changes) -> Path:
    settings = DdpRun.model_validate(SETTINGS | {"size": PICO} | changes).model_dump()
    path = folder / "run.json"
    path.write_text(json.dumps({"run": run_id(settings), "settings": settings}))
    return path


def start(run: Path, text: Path, folder: Path) -> psutil.Popen:
    command = [sys.executable, "-m", "scripts.benchmark_ddp", "--run", run, "--text",
               text / "meta.json", "--output", folder / "ddp.json"]  # fmt: skip
    return psutil.Popen(
        list(map(str, command)), cwd=ROOT, text=True, stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )


def train(*arguments, ranks=2):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone",
               f"--nproc_per_node={ranks}", "-m", "scripts.train_ddp", *map(str, arguments)]  # fmt: skip
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def steps_of(folder: Path) -> list[tuple[int, int, int, float]]:
    """What every rank had in each step: samples, real and padded tokens, loss."""
    records = read_run(folder)
    names = ("local_batch", "real_tokens", "padded_tokens", "loss")
    return [tuple(row) for row in np.stack([records[n].ravel() for n in names], axis=1).tolist()]


def test_from_yaml_to_the_report_and_again(tmp_path):
    workflow = Workflow(tmp_path, copy.deepcopy(CONFIG))
    workflow.run()
    (row,) = workflow.summary.to_dict("records")
    assert (row["status"], row["kind"], row["ranks"]) == ("ok", "ddp", 2)
    assert row["fastest_mode"] in ("static", "dynamic", "sorted")
    modes = pd.read_csv(tmp_path / "results/summary/ddp.csv").set_index("mode")
    assert list(modes.index) == ["static", "dynamic", "sorted"]
    assert (modes["mean_step_time_ms"] > 0).all()
    assert modes["efficiency"].between(0, 1, inclusive="right").all()
    best = modes.loc["sorted"]
    assert best["gain_ci_low"] <= best["gain"] <= best["gain_ci_high"]
    assert best["padding_share"] < modes.loc["static", "padding_share"]
    assert best["padded_gain"] > modes.loc["dynamic", "padded_gain"] * 0.9
    assert set(modes["precision"]) == {"fp32"}
    assert set(modes["requested_precision"]) == {"auto"}
    assert not [name for name in modes if "seeds" in name]
    table = (tmp_path / "results/tables/ddp.md").read_text()
    assert len(table.strip().splitlines()) == 2 + 2 + 3
    names = {path.stem for path in (tmp_path / "results/figures").iterdir()}
    assert {"ddp_step_time", "ddp_imbalance", "ddp_padding", "ddp_loss", "ddp_wait",
            "ddp_lengths", "batch_size_memory"} == names  # fmt: skip
    (result,) = tmp_path.glob("results/runs/*/ddp.json")
    metrics = read_result(result, DdpResult).metrics
    assert [seed.seed for seed in metrics.mode("static").seeds] == [0, 1]
    assert len(metrics.mode("static").seeds[0].loss) == 12
    found = read_result(result.with_name("batch_size.json"), BatchSizeResult)
    assert (found.status, found.batch_size) == ("ok", metrics.largest_local_batch)
    directory = result.parent / "ddp/sorted/seed1"
    assert {
        "config.yaml", "merged_metrics.csv", "summary.csv", "text.json", "effective.json", "metrics",
    } == {path.name for path in directory.iterdir()}  # fmt: skip
    assert len(pd.read_csv(directory / "merged_metrics.csv")) == 2 * 12
    assert workflow.planned() == {}
    workflow.config["sweeps"]["modes"]["cost_type"] = ["tokens", "tokens_sq"]
    planned = workflow.planned()
    assert (planned["benchmark_ddp"], planned["find_batch_size"]) == (1, 1)
    assert "prepare_text" not in planned
    workflow.config = copy.deepcopy(CONFIG)
    workflow.run("--report", "report.html")
    report = (tmp_path / "report.html").read_text()
    assert "Table: Data-Parallel Modes" in report
    assert not re.search(r"System Message|\(WARNING/", report)


def test_a_killed_rank_ends_all_and_the_next_call_continues(tmp_path, recover):
    changes = {"steps": 40, "checkpoint_steps": 6, "modes": ["dynamic", "sorted"], "seeds": [0]}
    config = CONFIG | {"sweeps": {"modes": SETTINGS | {"kind": "ddp"} | changes}}
    whole, cut = Workflow(tmp_path / "whole", config), Workflow(tmp_path / "cut", config)
    for workflow in (whole, cut):
        workflow.folder.mkdir()
    whole.run("results/summary.csv")
    process = cut.start("results/summary.csv")
    wait_for(lambda: list(cut.folder.glob("results/runs/*/ddp/checkpoint.pt")))
    (folder,) = cut.folder.glob("results/runs/*/ddp")
    ranks = [c for c in process.children(recursive=True) if "train_ddp" in " ".join(c.cmdline())]
    ranks = [rank for rank in ranks if rank.environ().get("RANK")]
    assert len(ranks) == 2
    ranks[1].send_signal(signal.SIGKILL)
    assert process.wait(60) != 0
    assert not any(rank.is_running() for rank in ranks)
    assert "rank 1 was ended by signal 9" in (cut.folder / "output").read_text()
    assert not (folder.parent / "ddp.json").exists()
    recover(cut, "SIGKILL of a rank", "steps since the last checkpoint", benchmark_ddp=1)
    (log,) = cut.folder.glob("logs/benchmark_ddp/*.log")
    assert "continuing at seed 0, step" in log.read_text()
    for mode in ("dynamic", "sorted"):
        name = f"results/runs/{folder.parent.name}/ddp/{mode}/seed0"
        assert steps_of(cut.folder / name) == steps_of(whole.folder / name)
        assert len(steps_of(cut.folder / name)) == 2 * 40
    assert not (folder / "checkpoint.pt").exists()


def test_by_hand_a_killed_run_is_resumed_and_only_on_its_own_text(tmp_path):
    rows = tmp_path / "rows.csv"
    rows.write_text(
        "sentence,label\n" + "".join(f"{'a b c ' * (n % 9)}d,{n % 2}\n" for n in range(99))
    )
    options = ("--mode", "dynamic", "--dataset", "csv", "--data_files", rows, "--model", "nano",
               "--vocab", 300, "--steps", 60, "--global_batch", 16, "--max_length", 32,
               "--checkpoint_steps", 5, "--block_steps", 5, "--device", "cpu", "--no_figures")  # fmt: skip
    assert train(*options, "--output_dir", tmp_path / "whole").returncode == 0
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2",
               "-m", "scripts.train_ddp", *map(str, options), "--output_dir", tmp_path / "cut"]  # fmt: skip
    process = psutil.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    wait_for(lambda: list(tmp_path.glob("cut/*/checkpoint.pt")))
    ranks = process.children(recursive=True)
    process.kill()  # the launcher alone: its ranks must not go on beside those that resume
    process.wait(30)
    assert psutil.wait_procs(ranks, timeout=10)[1] == []
    (folder,) = (path.parent for path in tmp_path.glob("cut/*/checkpoint.pt"))
    before = rows.read_text()
    rows.write_text(before.replace("a b c", "c b a b"))
    told = train("--resume", folder, "--output_dir", tmp_path / "cut")
    assert told.returncode != 0
    assert told.stderr.count(f"--resume: {folder}: the checkpoint is damaged, of another text") == 1
    rows.write_text(before)
    again = train("--resume", folder, "--output_dir", tmp_path / "cut")
    assert "continuing at seed 0, step" in again.stderr, again.stderr
    (whole,) = (path.parent for path in tmp_path.glob("whole/*/config.yaml"))
    assert steps_of(folder) == steps_of(whole)


def test_a_killed_launcher_leaves_no_rank(text, tmp_path):
    process = start(write_run(tmp_path, steps=2000), text, tmp_path)
    wait_for((tmp_path / "ddp/sorted/seed0/metrics/rank1.csv").exists)
    ranks = process.children()
    process.kill()
    _, alive = psutil.wait_procs(ranks, timeout=10)
    assert len(ranks) >= 2
    assert not alive


def test_by_hand_under_torchrun_and_compared(text, tmp_path):
    options = ("--text", text, "--output_dir", tmp_path, "--steps", 12, "--global_batch", 16,
               "--max_length", 96, "--model", "nano", "--vocab", 300, "--device", "cpu",
               "--dropout", 0)  # fmt: skip
    for mode in ("static", "sorted"):
        done = train("--mode", mode, *options)
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout.splitlines()[-1])
        folder = Path((tmp_path / f"last_run_{mode}.txt").read_text().strip())
        assert str(folder) == told["run_dir"]
        assert len(list((folder / "figures").iterdir())) == 12
    folders = [
        (tmp_path / f"last_run_{mode}.txt").read_text().strip() for mode in ("static", "sorted")
    ]
    metrics = metrics_of(folders).metrics
    assert metrics.mode("sorted").padded_gain > 1
    assert metrics.mode("static").final_loss == pytest.approx(
        metrics.mode("sorted").final_loss, abs=1e-4
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mode", "static", "--global_batch", "33"], "--global_batch: 33 is no multiple of ranks 2"),
        (["--mode", "sorted", "--dataset", "csv", "--data_files", "{rows}", "--text_column", "txt"],
         "--text_column: no column 'txt'; the data has: sentence, label"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_under_torchrun(arguments, message, tmp_path):
    rows = tmp_path / "rows.csv"
    rows.write_text("sentence,label\n" + "a b,1\nc,0\n" * 9)
    arguments = [argument.format(rows=rows) for argument in arguments]
    began = time.monotonic()
    done = train(*arguments, "--output_dir", tmp_path)
    assert done.returncode != 0
    assert time.monotonic() - began < 60
    assert done.stderr.count(message) == 1
    assert "Traceback" not in done.stderr.partition("torch/distributed")[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"global_batch": 9}, "global_batch: 9 is no multiple of ranks 2, which mode static needs"),
        ({"ranks": 4, "global_batch": 3}, "global_batch: 3 is smaller than ranks 4"),
        ({"buffer_size": 3}, "buffer_size: 3 is too small: 2 ranks look ahead at 6 samples"),
        ({"model": "huge"}, "unknown model 'huge'; allowed: nano"),
        ({"warmup_steps": 12}, "warmup_steps: 12 leaves none of the 12 steps"),
        ({"seeds": [1, 1]}, "seeds: 1 stands twice"),
        ({"tokenizer": "./no.txt"}, "tokenizer: ./no.txt: no such file"),
        ({"model": "./nowhere"}, "model: ./nowhere: no such folder"),
        ({"dataset": {"path": "csv"}}, "dataset.data_files: required with path: csv"),
        ({"dataset": {"path": "csv", "data_files": ["no.csv"]}}, "dataset.data_files: no.csv: no such file"),
        ({"dataset": {"path": "csv", "data_files": ["{rows}"], "text_column": "txt"}},
         "dataset.text_column: no column 'txt'; the data has: sentence, label"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_before_anything_runs(changes, message, tmp_path):
    rows = tmp_path / "rows.csv"
    rows.write_text("sentence,label\na,1\n")
    changes = json.loads(json.dumps(changes).replace("{rows}", str(rows)))
    told = Workflow(tmp_path, {"sizes": {"pico": PICO}, "sweeps": {"a": SWEEP | changes}}).call()
    assert told.returncode != 0
    lines = [line for line in (told.stdout + told.stderr).splitlines() if "sweeps.a" in line]
    assert len(lines) == 1
    assert message in lines[0]
    assert "Traceback" not in told.stderr
    assert not (tmp_path / "results").exists()


def largest(folder, text, **changes) -> BatchSizeResult:
    folder.mkdir(exist_ok=True)
    run = write_run(
        folder, max_local_batch="auto", batch_size_search={"upper_limit": 64}, **changes
    )
    output = folder / "batch_size.json"
    arguments = ["--run", run, "--data", text / "meta.json", "--output", output]
    assert find_batch_size.main(list(map(str, arguments))) == 0
    return read_result(output, BatchSizeResult)


def test_the_largest_batch_holds_gradients_buckets_and_optimiser_state(text, tmp_path):
    found = largest(tmp_path / "all", text, memory_budget_mib=2)
    assert found.certified
    assert found.worst_case["mode"] == "ddp_step"
    run = read_run_model(tmp_path / "all/run.json")
    # Weights, gradients in the buckets of DDP, and two moments of AdamW, of each mode in turn.
    model_mib = 4 * 4 * parameters_of(run, text) / 2**20
    assert found.memory_model.intercept_mib > 3 * model_mib
    one = largest(tmp_path / "one", text, memory_budget_mib=2, modes=["sorted"])
    assert one.batch_size > found.batch_size
    assert found.memory_model.intercept_mib - one.memory_model.intercept_mib > 1.9 * model_mib


def test_the_worst_case_is_no_longer_than_the_text(text, tmp_path):
    longest = open_text(text).longest(10_000)
    found = largest(tmp_path, text, memory_budget_mib=16, max_length=longest + 100)
    assert found.worst_case["context_length"] == longest


def test_short_texts_leave_static_its_room_whatever_max_length_is(tmp_path):
    """Four samples of the text fit on a rank, and not even one of `max_length` into their tokens."""
    rows, text = tmp_path / "rows.csv", tmp_path / "text"
    rows.write_text("sentence,label\n" + "".join(f"{'a ' * (n % 5)}b,{n % 2}\n" for n in range(60)))
    changes = {
        "dataset": {"path": "csv", "data_files": [str(rows)]},
        "max_length": 96,
        "memory_budget_mib": 64,
        "batch_size_search": {"upper_limit": 4},
        "max_local_batch": "auto",
    }
    run = write_run(tmp_path, **changes)
    write_text_cache(read_run_model(run), text)
    sizes = tmp_path / "batch_size.json"
    arguments = ["--run", run, "--data", text / "meta.json", "--output", sizes]
    assert find_batch_size.main(list(map(str, arguments))) == 0
    found = read_result(sizes, BatchSizeResult)
    assert found.batch_size == 4
    assert found.padded_tokens(96) < 96
    arguments = ["--run", run, "--text", text / "meta.json", "--batch-size", sizes]
    output = tmp_path / "ddp.json"
    assert benchmark_ddp.main([*map(str, arguments), "--output", str(output)]) == 0
    told = read_result(output, DdpResult)
    assert (told.status, told.reason) == ("ok", "")


def test_static_without_room_is_told_as_out_of_memory(text, tmp_path):
    process = start(write_run(tmp_path, max_local_batch=3), text, tmp_path)
    assert process.wait(60) == 0
    told = read_result(tmp_path / "ddp.json", DdpResult)
    assert told.status == "oom"
    assert "mode static puts 4 samples on each rank, but memory is for 3" in told.reason


def read_run_model(path: Path) -> DdpRun:
    return DdpRun.model_validate(json.loads(path.read_text())["settings"])


def parameters_of(run: DdpRun, text: Path) -> int:
    import torch

    from scripts.lib.kinds.ddp.cache import open_text
    from scripts.lib.kinds.ddp.model import build_model

    known = open_text(text)
    model = build_model(
        run, known.vocab_size, known.num_labels, known.pad_id, torch.device("cpu"), 0
    )
    return sum(p.numel() for p in model.parameters())


def wait_for(condition, seconds=90):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.05)
