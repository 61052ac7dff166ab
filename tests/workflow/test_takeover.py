"""Results that version 0.1.0 wrote are taken over: nothing of them is measured again."""

import json
import os
import shutil

import pytest

from scripts.lib.config import InputError, expand, load_config
from scripts.lib.kinds.registry import KINDS
from scripts.lib.workflow.progress import MEASURING
from scripts.lib.workflow.takeover import take_over
from tests.conftest import ROOT
from tests.workflows import Workflow

CONFIG = {
    "sweeps": {
        "modes": {
            "kind": "training", "size": "nano", "context_length": 64, "batch_size": 4,
            "mode": "forward",
        },
        "largest": {
            "kind": "training", "size": "nano", "context_length": 128, "batch_size": "auto",
            "memory_budget_mib": 256,
        },
        "data_parallel": {
            "kind": "ddp", "model": "nano", "ranks": 2, "global_batch": 32, "max_length": 128,
            "vocab": 4000, "steps": 20, "seeds": [0, 1],
        },
        "serving": {
            "kind": "inference",
            "entries": {
                "embedded-fp32-cpu": {
                    "image": "none", "model": "embedded", "model-prefix": "embedded",
                    "precision": "fp32", "framework": "transformers", "runner": "cpu",
                    "seq-len-configs": [
                        {"isl": 64, "osl": 32, "search-space": [{"tp": 1, "conc-list": [1]}]}
                    ],
                }
            },
            "server": {"device": "cpu"},
        },
        "accuracy": {
            "kind": "accuracy", "model": "embedded",
            "embedded": {"vision_steps": 200, "steps": 500},
            "reference": {"max_crops": 1}, "num_samples": 500,
        },
    }
}  # fmt: skip
# What the rules of version 0.1.0 made of the sweeps' data; only times and names matter here.
DATA = ("tokens-10000.npy", "embedded-model/config.json", "text-90a24f36/meta.json",
        "vlm-415f1ed9/training.json", "vlm-415f1ed9/training.csv",
        "vlm-415f1ed9/model.safetensors")  # fmt: skip


FORMER = [json.loads(path.read_text())
          for path in (ROOT / "tests/data/results_0.1.0/runs").glob("*/*.json")
          if path.name not in ("run.json", "batch_size.json")]  # fmt: skip
# Kinds of the runs whose measurement means the same today.
KEPT = {
    former["run"]: former["kind"]
    for former in FORMER
    if former["measurement_version"] == KINDS[former["kind"]].measurement_version
}


@pytest.fixture
def former(tmp_path) -> Workflow:
    """A folder as version 0.1.0 left it: data first, then run files, searches and results."""
    results = tmp_path / "results"
    shutil.copytree(ROOT / "tests/data/results_0.1.0", results)
    for name in DATA:
        path = results / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    order = [*results.glob("data/**/*"), *results.glob("runs/*/run.json")]
    order += results.glob("runs/*/batch_size.json")
    order += [path for path in results.glob("runs/*/*.json") if path not in order]
    for age, path in enumerate(reversed(order), start=1):
        os.utime(path, (1e9 - 60 * age, 1e9 - 60 * age))
    return Workflow(tmp_path, CONFIG)


def test_nothing_is_measured_again(former):
    results = former.folder / "results"
    before = {path.parent.name for path in results.glob("runs/*/run.json")}
    output = former.run("-n")
    assert f"{len(KEPT)} runs of an earlier version were taken over" in output
    del former.config["sweeps"]["serving"]  # what its figures mean has changed since
    planned = former.planned()
    assert not planned.keys() & MEASURING
    assert "write_run" not in planned
    assert not any(rule.startswith(("prepare_", "train_", "collect_point")) for rule in planned)
    former.run("--until", "aggregate_results")
    summary = former.summary
    assert list(summary["status"]) == ["ok"] * len(KEPT)
    former_values = [
        json.loads(path.read_text())["metrics"]
        for path in (ROOT / "tests/data/results_0.1.0/runs").glob("nano-ctx*/benchmark.json")
    ]
    times = {values["median_time_ms"] for values in former_values}
    assert times == set(summary["median_step_time_ms"].dropna())
    after = {path.parent.name for path in results.glob("runs/*/run.json")}
    assert {name.rpartition("-")[0] for name in after} == {n.rpartition("-")[0] for n in before}
    assert len(before - after) == len(KEPT)


def test_ids_are_those_of_the_configuration(former):
    take_over(former.folder / "results", former.folder)
    former.command()  # writes the configuration
    runs = expand(load_config([former.folder / "config.yaml"])).runs
    for run in (run for run in runs.values() if run.kind in KEPT.values()):
        path = KINDS[run.kind].result_path(former.folder / "results", run.id)
        assert KINDS[run.kind].read_result(path).run == run.id
        assert (
            KINDS[run.kind].load_run(former.folder / f"results/runs/{run.id}/run.json")[0] == run.id
        )


def test_a_takeover_that_is_killed_is_finished_by_the_next(former, monkeypatch):
    from scripts.lib.workflow import takeover

    results = former.folder / "results"
    for allowed in range(12):
        left = iter(range(allowed))

        def rewrite(path, content, left=left, real=takeover._rewrite):
            if next(left, None) is None:
                raise KeyboardInterrupt
            real(path, content)

        with monkeypatch.context() as patch:
            patch.setattr(takeover, "_rewrite", rewrite)
            try:
                take_over(results, former.folder)
            except KeyboardInterrupt:
                continue
    take_over(results, former.folder)
    test_ids_are_those_of_the_configuration(former)


def test_a_result_of_another_measurement_version_stays(former):
    (path,) = (former.folder / "results").glob("runs/nano-ctx64*/benchmark.json")
    data = json.loads(path.read_text())
    path.write_text(json.dumps(data | {"measurement_version": 99}))
    assert f"{len(KEPT) - 1} runs" in take_over(former.folder / "results", former.folder)
    assert path.exists()


def test_runs_of_today_stay_where_they_are(former):
    results = former.folder / "results"
    take_over(results, former.folder)
    before = sorted(results.glob("runs/*/*"))
    (results / ".layout").unlink()
    assert take_over(results, former.folder) == ""
    assert sorted(results.glob("runs/*/*")) == before


def test_what_cannot_be_renamed_is_one_line(former, monkeypatch):
    def refuse(path, target):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(type(former.folder), "rename", refuse)
    with pytest.raises(InputError) as caught:
        take_over(former.folder / "results", former.folder)
    (line,) = str(caught.value).splitlines()
    assert "results of an earlier version cannot be renamed" in line


def test_it_happens_once(former):
    results = former.folder / "results"
    assert f"{len(KEPT)} runs" in take_over(results, former.folder)
    assert take_over(results, former.folder) == ""
