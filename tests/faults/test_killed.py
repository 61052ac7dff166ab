"""Killed jobs and workflows, two at a time: nothing lost, nothing half-written."""

import json
import shutil
import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.workflows import TO_SUMMARY, Workflow

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
    undisturbed.run(*TO_SUMMARY)
    assert long.lasting.equals(undisturbed.lasting)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_killed_workflow_continues_with_the_next_call(long, number, recover):
    process = long.start()
    job = wait_for_job(process)
    process.send_signal(number)
    process.wait(timeout=120)
    whole_results(long.folder)
    # No lock is left, and a job that outlived its workflow is waited for.
    recover(long, f"{signal.Signals(number).name} of the workflow", "the run at work", options=())
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
