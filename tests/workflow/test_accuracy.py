"""Accuracy runs through the workflow, by hand, killed, resumed, out of memory, and refused."""

import copy
import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from PIL import Image

from scripts import accuracy, find_batch_size, measure_importance
from scripts.lib.batch_size.result import BatchSizeResult
from scripts.lib.config.runs import run_id
from scripts.lib.kinds.accuracy.config import AccuracyRun
from scripts.lib.kinds.accuracy.embedded import train
from scripts.lib.kinds.accuracy.measurement import EmbeddedVlm
from scripts.lib.kinds.accuracy.result import AccuracyResult
from scripts.lib.kinds.accuracy.shards import read_lines
from scripts.lib.results.reading import read_result
from tests.conftest import ROOT
from tests.workflows import TO_SUMMARY, Workflow

# Too little training to read well, but enough for answers that differ.
EMBEDDED = {"vision_steps": 60, "steps": 50, "train_batch_size": 32, "num_layers": 3,
            "num_experts": 4, "top_k": 2}  # fmt: skip
POINT = {"embedded": EMBEDDED, "max_crops": 9, "top_k": 2, "num_active_blocks": 3,
         "metric": "digit_accuracy", "num_samples": 40, "batch_size": 16, "device": "cpu"}  # fmt: skip
SWEEP = {"kind": "accuracy", "embedded": EMBEDDED, "max_crops": [1, 9], "num_samples": 24,
         "batch_size": 8, "device": "cpu"}  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint") / "vlm"
    train(EmbeddedVlm.model_validate(EMBEDDED), folder)
    return folder


def write_run(folder, **changes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    settings = AccuracyRun.model_validate(POINT | changes).model_dump()
    path = folder / "run.json"
    path.write_text(json.dumps({"run": run_id(settings), "settings": settings}))
    return path


def options(folder, checkpoint, **changes):
    given = {"run": write_run(folder, **changes), "output": folder / "accuracy.json"}
    given |= {"checkpoint": checkpoint} if checkpoint else {}
    return [f"--{name}={value}" for name, value in given.items()]


def measured(folder, checkpoint, *more, **changes):
    """What a call in this process finds."""
    assert accuracy.main([*options(folder, checkpoint, **changes), *more]) == 0
    return read_result(folder / "accuracy.json", AccuracyResult)


def answers(result):
    return [(s.id, s.prediction, s.score, s.digest) for s in result.metrics.samples]


@pytest.fixture(scope="module")
def reference(checkpoint, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SWEEPMAKE_LOCKS", str(tmp_path_factory.mktemp("locks")))
        return measured(tmp_path_factory.mktemp("reference"), checkpoint)


def start(folder, checkpoint, **changes) -> psutil.Popen:
    command = [sys.executable, "-m", "scripts.accuracy", *options(folder, checkpoint, **changes)]
    return psutil.Popen(
        command, cwd=ROOT, text=True, stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )


def wait_for(condition, seconds=90):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.02)


def test_from_yaml_to_the_report_and_again(tmp_path):
    config = {"sweeps": {"knobs": SWEEP | {
        "num_active_blocks": 2, "block_selection": "importance", "importance": {"num_samples": 8}}}}  # fmt: skip
    workflow = Workflow(tmp_path, copy.deepcopy(config))
    workflow.run()
    rows = workflow.summary.set_index(["max_crops", "num_active_blocks"])
    assert list(rows.index) == [(9, 3), (1, 3), (9, 2)]
    assert set(rows["status"]) == {"ok"}
    assert rows.loc[(1, 3), "mean_vision_tokens"] == 1
    assert rows.loc[(9, 3), "mean_vision_tokens"] > 4
    assert rows["flops_per_sample"].nunique() == 3
    assert (rows["accuracy_ci_low"] <= rows["accuracy"]).all()
    assert {"p99_vision_time_ms", "median_prefill_time_ms", "mean_decode_time_ms"} <= set(rows)
    told = json.loads((tmp_path / "results/accuracy/knobs/accuracy_results.json").read_text())
    assert {"max_crops", "accuracy", "batch_size_used", "num_samples", "std",
            "duration_seconds"} <= (
        told["summary"][0].keys())  # fmt: skip
    assert len(told["all_samples"]) == 3 * 24
    assert told["config"]["num_samples"] == 24
    assert told["summary"][0]["difference"] is None
    assert told["summary"][1]["difference_ci_low"] <= told["summary"][1]["difference"]
    names = {path.stem for path in (tmp_path / "results/figures").iterdir()}
    assert names == {
        f"accuracy_{n}" for n in ("knobs", "pareto", "importance", "samples", "training")
    }
    table = (tmp_path / "results/tables/accuracy.md").read_text()
    assert len(table.strip().splitlines()) == 2 + 2 + 3
    assert workflow.planned() == {}
    # Another reference, which is another first run, trains and ranks nothing anew.
    workflow.config["sweeps"]["knobs"]["reference"] = {"top_k": 1, "max_crops": 9}
    workflow.config["sweeps"]["knobs"]["top_k"] = 2
    planned = workflow.planned()
    assert planned["accuracy"] == 3
    assert not {"train_embedded_vlm", "measure_importance"} & planned.keys()
    workflow.config = copy.deepcopy(config)
    workflow.run("--report", "report.html")
    report = (tmp_path / "report.html").read_text()
    assert "Figure: Accuracy against each knob" in report
    assert not re.search(r"System Message|\(WARNING/", report)


def test_two_ranks_give_the_same_answers(checkpoint, reference, tmp_path):
    result = measured(tmp_path, checkpoint, ranks=2)
    assert result.status == "ok", result.reason
    assert answers(result) == answers(reference)
    assert result.metrics.accuracy == reference.metrics.accuracy
    assert not list((tmp_path / "accuracy").glob("batches-*"))


def test_under_torchrun(checkpoint, reference, tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
               "-m", "--", "scripts.accuracy", *options(tmp_path, checkpoint)]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert answers(read_result(tmp_path / "accuracy.json", AccuracyResult)) == answers(reference)


@pytest.mark.parametrize("size", [1, 3])
def test_any_batch_size_gives_the_same_answers(size, checkpoint, reference, tmp_path):
    assert answers(measured(tmp_path, checkpoint, batch_size=size)) == answers(reference)


def test_a_checkpoint_in_a_folder_that_changes_is_evaluated_anew(checkpoint, tmp_path):
    shutil.copytree(checkpoint, tmp_path / "model")
    sweep = {name: value for name, value in SWEEP.items() if name != "embedded"}
    sweep |= {"model": "./model", "num_samples": 4, "metric": "digit_accuracy"}
    workflow = Workflow(tmp_path, {"sweeps": {"knobs": sweep}})
    workflow.run(*TO_SUMMARY)
    assert list(workflow.summary["status"]) == ["ok", "ok"]
    assert "accuracy" not in workflow.planned()
    config = tmp_path / "model/generation_config.json"
    config.write_text(config.read_text() + "\n")
    assert workflow.planned()["accuracy"] == 2


def test_a_tokenizer_that_is_missing_is_told(checkpoint, tmp_path, capsys):
    shutil.copytree(checkpoint, tmp_path / "model")
    (tmp_path / "model/tokenizer.json").unlink()
    assert accuracy.main(options(tmp_path, None, model=str(tmp_path / "model"), embedded=None)) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert "is no checkpoint that transformers can load" in told


def test_killed_in_the_middle_and_resumed_with_other_ranks(checkpoint, tmp_path):
    many = {"num_samples": 240, "batch_size": 1}
    whole = measured(tmp_path / "whole", checkpoint, **many)
    cut = tmp_path / "cut"
    first = start(cut, checkpoint, ranks=2, **many)
    wait_for(lambda: len(read_lines(cut / "accuracy")) > 10)
    ranks = first.children()
    first.send_signal(signal.SIGKILL)
    first.wait(10)
    _, alive = psutil.wait_procs(ranks, timeout=10)
    assert not alive
    done = sum(len(batch["samples"]) for batch in read_lines(cut / "accuracy"))
    assert 0 < done < 240
    again = measured(cut, checkpoint, **many)
    assert answers(again) == answers(whole)
    assert len(again.metrics.batches) == 240


def killed_after(folder, checkpoint, lines, **changes):
    """Start a call and kill it once it has written some batches."""
    process = start(folder, checkpoint, **changes)
    wait_for(lambda: len(read_lines(folder / "accuracy")) >= lines)
    process.send_signal(signal.SIGKILL)
    process.wait(10)


def test_answers_to_data_that_has_changed_since_are_not_kept(checkpoint, tmp_path):
    many = {"dataset": write_rows(tmp_path, broken=False, count=400), "num_samples": 400,
            "batch_size": 1}  # fmt: skip
    rows = tmp_path / "rows.csv"
    killed_after(tmp_path, checkpoint, 20, **many)
    answered = read_lines(tmp_path / "accuracy")
    assert answered[0]["samples"][0]["id"] == 0
    rows.write_text(rows.read_text().replace("0 0 0 0", "9 9 9 9", 1))
    result = measured(tmp_path, checkpoint, **many)
    assert len(result.metrics.samples) == 400
    assert [s.answers for s in result.metrics.samples[:2]] == [["9 9 9 9"], ["0 0 0 0"]]


def test_out_of_memory_in_the_run_is_halved_and_told(checkpoint, reference, tmp_path):
    search = {"upper_limit": 64}
    changes = {"batch_size": "auto", "memory_budget_mib": 5, "batch_size_search": search}
    found = tmp_path / "batch_size.json"
    arguments = ["--data", checkpoint / "training.json", "--output", found]
    run = write_run(tmp_path, **changes)
    assert find_batch_size.main(list(map(str, ["--run", run, *arguments]))) == 0
    largest = read_result(found, BatchSizeResult)
    assert largest.certified
    assert largest.worst_case["longest_prompt_of"] == 40
    assert 4 < largest.batch_size < 64
    at_budget = measured(tmp_path, checkpoint, f"--batch-size={found}", **changes)
    assert (at_budget.effective.batch_size, at_budget.metrics.ooms) == (largest.batch_size, [])
    # Less memory than when the size was found, as when another program took some.
    less = changes | {"memory_budget_mib": 3.5}
    result = measured(tmp_path / "less", checkpoint, f"--batch-size={found}", **less)
    first = result.metrics.ooms[0]
    assert (first.batch_size, first.next_batch_size) == (
        largest.batch_size,
        largest.batch_size // 2,
    )
    assert result.effective.batch_size <= largest.batch_size // 2
    assert answers(result) == answers(at_budget) == answers(reference)
    assert result.metrics.peak_memory_mib <= 3.5
    nothing = measured(tmp_path / "nothing", checkpoint, f"--batch-size={found}",
                       **changes | {"memory_budget_mib": 0.5})  # fmt: skip
    assert nothing.status == "oom"


def write_rows(folder, broken, count=12):
    """Images in files, one of them broken, and the data set that names them."""
    for number in range(count):
        Image.new("RGB", (16, 16)).save(folder / f"{number}.png")
    if broken:
        (folder / "11.png").write_text("no image")
    with (folder / "rows.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "question", "answer"])
        rows.writerows([f"{number}.png", "read two by two", "0 0 0 0"] for number in range(count))
    return {"path": "csv", "data_files": [str(folder / "rows.csv")], "image_column": "image",
            "dataset_dir": str(folder / "cache")}  # fmt: skip


def test_a_rank_that_fails_ends_all_within_seconds(checkpoint, tmp_path):
    # Row 11 is in the share of rank 1; rank 0 would have much more to do.
    data = write_rows(tmp_path, broken=True)
    process = start(tmp_path, checkpoint, ranks=2, dataset=data, batch_size=1, num_samples=12)
    began, ranks = None, []
    while process.poll() is None:
        ranks = ranks or process.children()
        failed = (tmp_path / "accuracy/failure-rank1.json").exists()
        began = began or (time.monotonic() if failed else None)
        time.sleep(0.05)
    assert began
    assert time.monotonic() - began < 10
    assert process.returncode == 2
    assert not any(rank.is_running() and rank.status() != "zombie" for rank in ranks)
    told = process.stderr.read()
    assert "dataset.image_column: row 11: no image can be read" in told
    assert "Traceback" not in told


# One rank takes half a second a batch, and rank 1 may fail at its third one.
TORCHRUN_SCRIPT = """
import os, sys, time
from pathlib import Path
from scripts import accuracy
from scripts.lib.kinds.accuracy.evaluation import Evaluator

answer, calls = Evaluator._answer, []

def broken(self, batch):
    calls.append(batch)
    if {fails} and os.environ["RANK"] == "1" and len(calls) == 3:
        Path({mark!r}).touch()
        raise RuntimeError("boom")
    if os.environ["RANK"] == "{slow}":
        time.sleep(0.5)
    return answer(self, batch)

Evaluator._answer = broken
sys.exit(accuracy.main({options!r}))
"""


def torchrun(folder, **replaced):
    """Run the script on two ranks."""
    script = folder / "ranks.py"
    script.write_text(TORCHRUN_SCRIPT.format(**replaced))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
               str(script)]  # fmt: skip
    return subprocess.run(
        command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True,
        text=True, check=False, timeout=150,
    )  # fmt: skip


def test_under_torchrun_a_broken_row_is_told_once(checkpoint, tmp_path):
    data = write_rows(tmp_path, broken=True)
    given = options(tmp_path, checkpoint, dataset=data, batch_size=1, num_samples=12)
    # Rank 0 waits for rank 1, in whose share row 11 is.
    done = torchrun(tmp_path, fails=False, slow=1, mark="", options=given)
    assert done.returncode != 0
    assert done.stderr.count("row 11: no image can be read") == 1
    assert not (tmp_path / "accuracy.json").exists()


def test_under_torchrun_a_rank_that_fails_ends_all_within_seconds(checkpoint, tmp_path):
    mark = tmp_path / "failed"
    given = options(tmp_path, checkpoint, num_samples=800, batch_size=1)
    # Rank 0 has minutes to do.
    done = torchrun(tmp_path, fails=True, slow=0, mark=str(mark), options=given)
    assert done.returncode != 0
    assert time.time() - mark.stat().st_mtime < 10
    assert done.stderr.count("rank 1: RuntimeError: boom") == 1
    result = read_result(tmp_path / "accuracy.json", AccuracyResult)
    assert (result.status, result.reason) == ("failed", "rank 1: RuntimeError: boom")


def test_local_files_are_answered_and_small_images_are_told(checkpoint, tmp_path):
    data = write_rows(tmp_path, broken=False)
    result = measured(tmp_path, checkpoint, dataset=data, num_samples=50, max_crops=9)
    metrics = result.metrics
    assert metrics.samples_evaluated == 12
    assert "the data has only 12 of 50 samples" in metrics.warnings
    assert f"no image has more than {metrics.actual_max_crops} crops" in metrics.warnings


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"num_active_blocks": 9}, "num_active_blocks: 9 is out of range; the model has 3 blocks"),
        ({"top_k": 5}, "top_k: 5 is out of range; the model has 4 experts"),
    ],
)
def test_a_knob_out_of_range_is_a_row(changes, reason, checkpoint, tmp_path):
    result = measured(tmp_path, checkpoint, **changes)
    assert (result.status, result.reason) == ("unsupported", reason)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"top_k": 5}, "top_k: 5 is out of range; the model has 4 experts"),
        ({"dataset": "text"}, "max_crops: the samples have no images"),
    ],
)
def test_a_knob_that_cannot_be_turned_is_no_failure_of_the_search(
    changes, reason, checkpoint, tmp_path
):
    if changes.get("dataset"):
        changes = {"dataset": write_rows(tmp_path, broken=False) | {"image_column": None}}
    changes = changes | {"batch_size": "auto", "batch_size_search": {"upper_limit": 4}}
    found = tmp_path / "batch_size.json"
    arguments = ["--data", checkpoint / "training.json", "--output", found]
    run = write_run(tmp_path, **changes)
    assert find_batch_size.main(list(map(str, ["--run", run, *arguments]))) == 0
    searched = read_result(found, BatchSizeResult)
    assert (searched.status, searched.reason) == ("unsupported", reason)
    assert [probe.outcome for probe in searched.probes] == ["unsupported"]
    result = measured(tmp_path, checkpoint, f"--batch-size={found}", **changes)
    assert (result.status, result.reason) == ("unsupported", reason)


def test_importance_that_cannot_be_measured_is_one_line(checkpoint, tmp_path, capfd):
    data = write_rows(tmp_path, broken=False) | {"image_column": None}
    ranked = {"block_selection": "importance", "importance": {"num_samples": 4, "max_crops": 9}}
    run, output = write_run(tmp_path, dataset=data, **ranked), tmp_path / "importance.json"
    given = {"run": run, "checkpoint": checkpoint, "output": output}
    capfd.readouterr()
    assert measure_importance.main([f"--{name}={value}" for name, value in given.items()]) == 2
    told = capfd.readouterr().err
    assert told.strip().splitlines()[-1] == "max_crops: the samples have no images"
    assert "Traceback" not in told
    assert not output.exists()


def test_what_is_no_checkpoint_is_one_line(tmp_path, capfd):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    assert accuracy.main(options(tmp_path, None, model=str(folder), embedded=None)) == 2
    told = capfd.readouterr().err.strip().splitlines()
    assert len(told) == 1
    assert told[0].startswith(f"model: {folder}: is no checkpoint that transformers can load: ")
    assert accuracy.main(options(tmp_path, None)) == 2
    assert "--checkpoint: required" in capfd.readouterr().err
