"""Faults of files and memory: results damaged, a full disk, a read-only disk, an out-of-memory kill."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.workflows import CONFIG, TO_SUMMARY, Workflow

ROOT_ONLY = pytest.mark.skipif(os.getuid() != 0, reason="mounting a small disk needs root")


def retry(workflow: Workflow) -> list[str]:
    """Runs that `make retry` measures again."""
    told = subprocess.run(
        [sys.executable, "-m", "scripts.retry_failed", "--results-dir", "results"],
        cwd=workflow.folder, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [Path(path).parent.name for path in json.loads(told.stdout)["removed"]]


def newer(text: str) -> str:
    return json.dumps(json.loads(text) | {"schema_version": 999})


DAMAGES = {
    "truncated": lambda text: text[: len(text) // 2],
    "emptied": lambda text: "",
    "foreign JSON": lambda text: '{"results": [1, 2, 3]}',
    "a newer schema": newer,
    "another run's": lambda text: text.replace("-b2-", "-b3-"),
}


def test_damaged_results_are_named_and_measured_again(finished, recover):
    undisturbed = finished.lasting
    paths = [
        *finished.folder.glob("results/runs/pico*-bauto-*/benchmark.json"),
        *sorted(finished.folder.glob("results/runs/*-b2-*/benchmark.json")),
    ]
    for damage, path in zip(DAMAGES.values(), paths, strict=True):
        path.write_text(damage(path.read_text()))
    told = finished.call()
    assert told.returncode != 0
    for path in paths:
        assert str(path.relative_to(finished.folder)) in told.stdout + told.stderr
    missing = finished.summary.set_index("run")["status"]
    hit = {path.parent.name for path in paths}
    assert set(missing[missing == "missing"].index) == hit
    assert set(retry(finished)) == hit
    recover(finished, f"results are {', '.join(DAMAGES)}", "these results", benchmark=5)
    assert finished.lasting.equals(undisturbed)


@contextmanager
def small_disk(folder: Path, size: str):
    """A disk of `size` at `folder`, with what was there."""
    kept = folder.with_name("kept")
    shutil.move(folder, kept)
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        shutil.copytree(kept, folder, dirs_exist_ok=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@ROOT_ONLY
def test_a_full_disk_leaves_nothing_half_written(finished, recover):
    undisturbed = finished.lasting
    lost = list(finished.folder.glob("results/runs/pico*/benchmark.json"))
    for path in lost:
        path.unlink()
    results = finished.folder / "results"
    with small_disk(results, "32m"):
        free = os.statvfs(results)
        filler = results / "filler"
        with filler.open("wb") as file:
            file.write(b"\0" * (free.f_bavail * free.f_frsize - 8192))
        assert finished.call().returncode != 0
        for path in results.glob("runs/*/*"):
            assert path.suffix == ".json"
            json.loads(path.read_text())
        filler.unlink()
        left = [path for path in lost if not path.exists()]
        assert left
        recover(finished, "the disk is full", "what could not be written", benchmark=len(left))
        assert finished.lasting.equals(undisturbed)


@ROOT_ONLY
def test_a_read_only_disk_is_told_and_costs_nothing(finished, recover):
    undisturbed = finished.lasting
    next(finished.folder.glob("results/runs/femto*training_step*/benchmark.json")).unlink()
    results = finished.folder / "results"
    with small_disk(results, "64m"):
        subprocess.run(["mount", "-o", "remount,ro", results], check=True)
        told = finished.call()
        assert told.returncode != 0
        assert "Write-protected output files" in told.stderr
        subprocess.run(["mount", "-o", "remount,rw", results], check=True)
        recover(finished, "the results are read-only", benchmark=1)
        assert finished.lasting.equals(undisturbed)


@pytest.mark.parametrize("days", [-2, 2])
def test_a_stepped_clock_makes_nothing_stale(finished, days, recover):
    """Files of another time than now: everything older, or from a future before the step."""
    for path in (finished.folder / "results").rglob("*"):
        state = path.stat()
        os.utime(path, (state.st_atime + days * 86400, state.st_mtime + days * 86400))
    assert finished.planned() == {}
    more = {"size": "pico", "mode": "forward", "context_length": 8}
    finished.config["sweeps"]["fixed"]["include"] = [more]
    assert finished.planned()["benchmark"] == 1
    fault = f"the clock is set by {-days} days; a run is added"
    recover(finished, fault, options=(), benchmark=1)
    assert list(finished.summary["status"]).count("ok") == 6
    assert finished.planned() == {}


def test_a_data_file_that_breaks_is_named_and_costs_what_was_to_be_measured(tmp_path, recover):
    """Tokens that are whole when the sweep is planned, and cut off when the next one is."""
    path = tmp_path / "tokens.npy"
    np.save(path, np.arange(4096) % 512)
    whole = path.read_bytes()
    sweep = CONFIG["sweeps"]["fixed"] | {"size": "pico", "data_path": "tokens.npy"}
    workflow = Workflow(tmp_path, CONFIG | {"sweeps": {"fixed": sweep | {"mode": "forward"}}})
    workflow.run(*TO_SUMMARY)
    first = workflow.summary
    sweep["mode"] = ["forward", "training_step"]
    workflow.config["sweeps"]["fixed"] = sweep
    stamp = path.stat()
    path.write_bytes(whole[: len(whole) // 2])
    told = workflow.call()
    assert told.returncode != 0
    assert "sweeps.fixed.data_path: tokens.npy: is no whole .npy file" in told.stderr
    assert "Traceback" not in told.stderr
    assert workflow.summary.equals(first)
    path.write_bytes(whole)
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert workflow.planned()["benchmark"] == 1
    recover(workflow, "a data file is cut off", benchmark=1)
    assert list(workflow.summary["status"]) == ["ok", "ok"]


@contextmanager
def memory_limit(mib: int):
    """A control group with so much memory; yields what puts a new process into it."""
    base = Path("/sys/fs/cgroup/memory")  # version 1; with version 2 the controller is at the top
    limit = "memory.limit_in_bytes" if base.is_dir() else "memory.max"
    group = (base if base.is_dir() else base.parent) / f"sweepmake-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / limit).write_text(str(mib << 20))
    except OSError as error:
        pytest.skip(f"no control group with a memory limit can be made here: {error}")
    try:
        yield lambda: (group / "cgroup.procs").write_text(str(os.getpid()))
    finally:
        group.rmdir()


def test_an_out_of_memory_kill_by_the_kernel_costs_its_job(tmp_path, recover):
    config = CONFIG | {"sweeps": {"fixed": CONFIG["sweeps"]["fixed"] | {"size": "pico"}}}
    workflow = Workflow(tmp_path, config)
    with memory_limit(330) as enter:
        killed = subprocess.run(
            workflow.command("--retries", "0", *TO_SUMMARY), cwd=tmp_path, preexec_fn=enter,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert killed.returncode != 0
    assert not list(tmp_path.glob("results/runs/*/benchmark.json"))
    assert not list(tmp_path.glob("results/runs/*/.*"))
    assert set(workflow.summary["status"]) == {"missing"}
    recover(workflow, "the kernel kills 2 jobs for memory", "their runs", benchmark=2)
    assert set(workflow.summary["status"]) == {"ok"}
