"""The GitHub Actions workflow of the docs: its shell steps run here, with a small sweep."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from matrix_cases import ROOT, entry, item, lengths, write

SWEEP = ROOT / "docs/github-actions.yml"
BATCH = ROOT / "docs/github-actions-batch.yml"


def workflow(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def run_step(path, job, step_id, folder, **env):
    (step,) = [s for s in workflow(path)["jobs"][job]["steps"] if s.get("id") == step_id]
    output = folder / "github_output"
    output.write_text("", encoding="utf-8")
    python = Path(sys.executable).parent
    result = subprocess.run(
        ["bash", "-e", "-c", step["run"]],
        **{"cwd": folder, "capture_output": True, "text": True, "timeout": 30},
        env={
            **os.environ,
            **{"PATH": f"{python}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)},
            **{"GITHUB_OUTPUT": str(output), **env},
        },
    )
    lines = output.read_text(encoding="utf-8").splitlines()
    return result, dict(line.split("=", 1) for line in lines)


@pytest.fixture
def sweep(tmp_path):
    entries = {f"e{i}": entry(lengths(item(end=4)), image=f"i{i}") for i in range(7)}
    return f"full-sweep --config-files {write(tmp_path / 'm.yaml', entries)}"


def test_one_job_definition_serves_all_batches():
    jobs = workflow(SWEEP)["jobs"]
    assert list(jobs) == ["plan", "batch", "collect"]
    assert jobs["batch"]["strategy"]["matrix"] == {
        "batch": "${{ fromJson(needs.plan.outputs.batches) }}"
    }
    called = workflow(BATCH)
    assert set(jobs["batch"]["with"]) == set(called[True]["workflow_call"]["inputs"])  # `on`
    assert list(called["jobs"]) == ["expand", "measure"]


def test_batches_are_planned_expanded_and_found_complete(tmp_path, sweep):
    planned, plan = run_step(SWEEP, "plan", "plan", tmp_path, SWEEP=sweep, BATCH_SIZE="3")
    assert planned.returncode == 0, planned.stderr
    assert json.loads(plan["batches"]) == [0, 1, 2]
    points = []
    for batch in json.loads(plan["batches"]):
        env = {"SWEEP": plan["sweep"], "BATCH": str(batch)}
        _, output = run_step(BATCH, "expand", "expand", tmp_path, **env)
        for index, point in enumerate(json.loads(output["matrix"])["include"]):
            points.append(point)
            result = tmp_path / f"results/point-{batch}-{index}/result.json"
            result.parent.mkdir(parents=True)
            result.write_text("{}", encoding="utf-8")
    assert [point["image"] for point in points] == [f"i{i}" for i in range(7)]

    env = {"SWEEP": plan["sweep"], "BATCH_SIZE": "3"}
    checked, _ = run_step(SWEEP, "collect", "check", tmp_path, **env)
    assert (checked.returncode, checked.stdout) == (0, "7 of 7 points have a result\n")

    (tmp_path / "results/point-1-2/result.json").unlink()
    checked, _ = run_step(SWEEP, "collect", "check", tmp_path, **env)
    missing, summary = checked.stdout.splitlines()
    assert checked.returncode == 1
    assert json.loads(missing.removeprefix("no result: "))["image"] == "i5"
    assert summary == "6 of 7 points have a result"


def test_a_sweep_with_a_fault_stops_the_plan(tmp_path):
    result, _ = run_step(SWEEP, "plan", "plan", tmp_path, SWEEP="full-sweep", BATCH_SIZE="256")
    assert result.returncode == 2
    assert result.stderr == "the following arguments are required: --config-files\n"
