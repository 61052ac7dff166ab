"""Input that is refused before anything runs, and names that reach no shell."""

import subprocess

import numpy as np
import pytest
import yaml

from scripts.lib.workflow.progress import MEASURING
from tests.conftest import ROOT
from tests.workflows import Workflow

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
        planned = Workflow(tmp_path, yaml.safe_load(text)).planned()
        assert planned.keys() & MEASURING
