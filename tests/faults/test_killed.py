"""Killed jobs and workflows, two at a time: nothing lost, nothing half-written."""

import json
import signal
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest

from tests.workflows import TO_SUMMARY, Workflow, copied

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
    return with_long_run(finished)


def with_long_run(workflow: Workflow) -> Workflow:
    sweeps = workflow.config["sweeps"]
    sweeps["long"] = sweeps["fixed"] | LONG | {"size": "pico", "mode": "training_step"}
    return workflow


def whole_results(folder):
    """All results are whole JSON and no temporary file is left among them."""
    for path in folder.glob("results/runs/*/*"):
        assert path.suffix == ".json", path
        json.loads(path.read_text())


@pytest.fixture(scope="module")
def undisturbed(_finished, tmp_path_factory) -> pd.DataFrame:
    """The summary of the finished workflow with the long run, without a fault."""
    workflow = with_long_run(copied(_finished, tmp_path_factory.mktemp("undisturbed")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SWEEPMAKE_LOCKS", str(workflow.folder))
        workflow.run(*TO_SUMMARY)
    return workflow.lasting


def test_a_killed_job_fails_and_the_next_call_finishes(long, undisturbed, recover):
    process = long.start()
    wait_for_job(process).send_signal(signal.SIGKILL)
    assert process.wait(timeout=120) != 0
    assert len(list(long.folder.glob("results/runs/*/benchmark.json"))) == 6
    whole_results(long.folder)
    recover(long, "SIGKILL of a measuring job", "its run", benchmark=1)
    assert long.lasting.equals(undisturbed)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_killed_workflow_continues_with_the_next_call(long, undisturbed, number, recover):
    process = long.start()
    job = wait_for_job(process)
    process.send_signal(number)
    process.wait(timeout=120)
    whole_results(long.folder)
    # No lock is left, and a job that outlived its workflow is waited for. After SIGTERM Snakemake
    # waits for what runs, which is then done.
    again = {} if number == signal.SIGTERM else {"benchmark": 1}
    fault = f"{signal.Signals(number).name} of the workflow"
    recover(long, fault, "the run at work", options=(), **again)
    assert not job.is_running() or job.status() == psutil.STATUS_ZOMBIE
    assert long.lasting.equals(undisturbed)
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
