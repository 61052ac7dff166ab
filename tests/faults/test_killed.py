"""Killed jobs and workflows, two at a time, bad input: nothing lost, nothing half-written."""

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import yaml

from scripts.lib.workflow_progress import MEASURING
from tests.conftest import ROOT
from tests.workflows import Workflow

LONG = {"num_trials": 400, "num_steps": 2}


def wait_for_job(process: psutil.Process, timeout: float = 120) -> psutil.Process:
    """The measuring program below `process`, once it is at its trials."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        assert process.is_running(), "the workflow ended before the job was seen"
        for child in process.children(recursive=True):
            try:
                command = child.cmdline()
                if command[0].endswith("python") and "scripts.benchmark" in command:
                    run = Path(command[command.index("--output") + 1]).parent.name
                    if "trials: 0" in Path(child.cwd(), f"logs/benchmark/{run}.log").read_text():
                        return child
            except (psutil.Error, OSError, IndexError):
                continue
        time.sleep(0.02)
    raise AssertionError(f"no measurement started within {timeout} s")


@pytest.fixture
def long(finished) -> Workflow:
    """A finished workflow to which a long run is added."""
    finished.config["sweeps"]["long"] = finished.config["sweeps"]["fixed"] | LONG
    finished.config["sweeps"]["long"] |= {"size": "pico", "mode": "training_step"}
    return finished


def whole_results(folder):
    """All results are whole JSON and no temporary file is left among them."""
    for path in folder.glob("results/runs/*/*"):
        assert path.suffix == ".json", path
        json.loads(path.read_text())


def test_a_killed_job_fails_and_the_next_call_finishes(long, tmp_path, recover):
    undisturbed = Workflow(tmp_path / "undisturbed", long.config)
    shutil.copytree(long.folder, undisturbed.folder)
    process = long.start()
    wait_for_job(process).send_signal(signal.SIGKILL)
    assert process.wait(timeout=120) != 0
    assert len(list(long.folder.glob("results/runs/*/benchmark.json"))) == 6
    whole_results(long.folder)
    assert long.planned()["benchmark"] == 1
    recover(long, "SIGKILL of a measuring job", "its run")
    undisturbed.run()
    assert long.lasting.equals(undisturbed.lasting)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_killed_workflow_continues_with_the_next_call(long, number, recover):
    process = long.start()
    job = wait_for_job(process)
    process.send_signal(number)
    process.wait(timeout=120)
    whole_results(long.folder)
    # No lock is left, and a job that outlived its workflow is waited for.
    recover(long, f"{signal.Signals(number).name} of the workflow", "the run at work")
    assert not job.is_running() or job.status() == psutil.STATUS_ZOMBIE
    assert len(long.summary) == 7
    assert set(long.summary["status"]) == {"ok", "oom"}
    whole_results(long.folder)
    assert long.planned() == {}


def test_a_second_workflow_in_the_same_folder_is_refused(long):
    process = long.start()
    wait_for_job(process)
    second = long.call()
    assert second.returncode != 0
    assert f"another sweepmake workflow (process {process.pid} on " in second.stderr
    process.send_signal(signal.SIGINT)
    process.wait(timeout=120)


BAD = {
    "unknown key": {"num_trails": 3},
    "wrong type": {"num_trials": "3"},
    "unknown size": {"size": "nono"},
    "empty list": {"size": []},
    "negative number": {"num_warmups": -3},
    "missing token file": {"data_path": "nowhere/tokens.npy"},
    "token file of the wrong type": {"data_path": "floats.npy"},
    "token ids above the vocabulary": {"data_path": "large.npy"},
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_before_anything_runs(tmp_path, case):
    np.save(tmp_path / "floats.npy", np.ones(100))
    np.save(tmp_path / "large.npy", np.arange(1000))
    sweep = {"kind": "training", "size": "nano", "context_length": 16, "vocab": 512}
    workflow = Workflow(tmp_path, {"sweeps": {"a": sweep | BAD[case]}})
    told = workflow.call()
    assert told.returncode != 0
    lines = [line for line in told.stderr.splitlines() if "Using workflow specific" not in line]
    assert len(lines) == 1, told.stderr
    assert next(iter(BAD[case])) in lines[0]
    assert lines[0].startswith(str(tmp_path / "config.yaml:"))
    assert not (tmp_path / "results").exists()
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize(
    "text",
    ["sweeps:\n a: {kind: training}\n a: {kind: training}", "sweeps: {../x: {kind: training}}"],
)
def test_bad_names_are_refused_before_anything_runs(tmp_path, text):
    workflow = Workflow(tmp_path, {})
    command = workflow.command("-n")
    (tmp_path / "config.yaml").write_text(text)
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert told.returncode != 0
    assert "config.yaml:" in told.stderr
    assert "Traceback" not in told.stderr
    assert not (tmp_path / "results").exists()


def test_cuda_without_a_gpu_is_refused_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    sweep = {"kind": "training", "size": "nano", "context_length": 16, "device": "cuda"}
    workflow = Workflow(tmp_path, {"sweeps": {"a": sweep}})
    assert workflow.planned()["benchmark"] == 1
    told = workflow.call()
    assert told.returncode != 0
    assert "device: cuda is asked for by 1 runs" in told.stderr
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    "text", ["- a", "a: [", "", "sweeps: !!python/object/apply:os.system [ls]"]
)
def test_a_file_that_is_no_mapping_is_refused_without_a_traceback(tmp_path, text):
    workflow = Workflow(tmp_path, {})
    command = workflow.command()
    (tmp_path / "config.yaml").write_text(text)
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert told.returncode != 0
    assert "Traceback" not in told.stderr
    assert not (tmp_path / "results").exists()


def test_names_with_blanks_and_quotes_in_paths_reach_no_shell(tmp_path):
    folder = tmp_path / "a folder; touch 'harm' $(touch harm)"
    folder.mkdir()
    np.save(folder / "my tokens; touch harm.npy", np.arange(500) % 512)
    sweep = {
        "kind": "training", "size": "nano", "context_length": 16, "vocab": 512, "batch_size": 1,
        "mode": "forward", "data_path": "my tokens; touch harm.npy",
    }  # fmt: skip
    workflow = Workflow(folder, {"sweeps": {"a": sweep}})
    workflow.run()
    assert list(workflow.summary["status"]) == ["ok"]
    assert not list(tmp_path.rglob("harm"))


def test_a_folder_named_scripts_hides_nothing(tmp_path):
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts/__init__.py").write_text("raise RuntimeError('the wrong scripts')")
    sweep = {
        "kind": "training", "size": "nano", "context_length": 16, "vocab": 512, "batch_size": 1,
        "mode": "forward",
    }  # fmt: skip
    workflow = Workflow(tmp_path, {"sweeps": {"a": sweep}})
    workflow.run("results/data/tokens-512.npy")


def test_the_shipped_configurations_plan(tmp_path):
    for path in [ROOT / "config/config.yaml", *sorted((ROOT / "config/examples").glob("*.yaml"))]:
        text = path.read_text().replace("config/examples/", f"{ROOT}/config/examples/")
        workflow = Workflow(tmp_path, yaml.safe_load(text))
        assert sum(workflow.planned().get(rule, 0) for rule in MEASURING) > 0
