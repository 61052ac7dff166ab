"""What all tests share: runs and results in a folder of their own."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from scripts.lib.config.runs import run_id
from scripts.lib.kinds.training.config import TrainingRun
from scripts.lib.workflow.progress import MEASURING
from tests.workflows import ROOT, TO_SUMMARY, _finished, finished  # noqa: F401

# Two processes of tests share two cores. Before torch is imported anywhere.
os.environ["OMP_NUM_THREADS"] = "1"
# What a shell starts in the background ignores Ctrl-C, and so would every process that is tested.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A model so small that only imports take time.
SETTINGS = {
    "kind": "training",
    "model_size": "pico",
    "d_model": 16,
    "d_ff": 32,
    "num_layers": 1,
    "num_heads": 2,
    "context_length": 16,
    "batch_size": 2,
    "mode": "training_step",
    "vocab": 512,
    "num_trials": 6,
}


@pytest.fixture(autouse=True)
def _own_locks(tmp_path_factory, monkeypatch):
    """Device locks of the tests are not those of the user's measurements."""
    monkeypatch.setenv("SWEEPMAKE_LOCKS", str(tmp_path_factory.getbasetemp()))
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT) + os.pathsep + os.environ.get("PYTHONPATH", ""))


def training_run(**changes) -> TrainingRun:
    return TrainingRun.model_validate({**SETTINGS, **changes})


@pytest.fixture(scope="session")
def tokens(tmp_path_factory) -> Path:
    """The embedded token file for the vocabulary of the tests."""
    from scripts.lib.kinds.training.tokens import write_embedded_tokens

    path = tmp_path_factory.mktemp("tokens") / "tokens.npy"
    write_embedded_tokens(path, SETTINGS["vocab"])
    return path


@pytest.fixture
def write_run(tmp_path):
    """Write a run file with changed settings; returns its path."""

    def write(**changes) -> Path:
        settings = training_run(**changes).model_dump()
        path = tmp_path / "run.json"
        path.write_text(json.dumps({"run": run_id(settings), "settings": settings}))
        return path

    return write


@pytest.fixture
def note_fault(record_property):
    """Note a line of the table of faults that ends the tests: what was lost, what ran again."""

    def note(fault: str, lost: str, again: str, seconds: float) -> None:
        record_property("fault", (fault, lost, again, f"{seconds:.0f}"))

    return note


@pytest.fixture
def recover(note_fault):
    """Call a workflow again after a fault, which must run these measurements and no others.

    Notes them and the seconds. Up to the summary, unless `options` are others: tables and figures
    are tested elsewhere.
    """

    def run(workflow, fault: str, lost: str = "nothing", options=TO_SUMMARY, **again: int) -> None:
        planned = workflow.planned()
        assert {rule: n for rule, n in planned.items() if rule in MEASURING} == again
        start = time.monotonic()
        workflow.run(*options)
        told = ", ".join(f"{n} {rule}" for rule, n in again.items()) or "no measurement"
        note_fault(fault, lost, told, time.monotonic() - start)

    return run


def pytest_terminal_summary(terminalreporter):
    rows = [
        value
        for report in terminalreporter.stats.get("passed", [])
        for name, value in report.user_properties
        if name == "fault"
    ]
    if rows:
        terminalreporter.section("faults: what was lost, what ran again, seconds to recover")
        for row in rows:
            terminalreporter.write_line("| " + " | ".join(map(str, row)) + " |")
