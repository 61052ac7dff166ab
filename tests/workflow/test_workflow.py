"""From YAML to the report, and again: what is new or changed runs, nothing else."""

import json
import re
import subprocess
from collections import Counter

import pandas as pd
import yaml

from scripts import retry_failed
from scripts.lib.workflow.progress import MEASURING
from tests.conftest import ROOT
from tests.workflows import CONFIG, Workflow


def test_every_run_has_its_row(finished):
    summary = finished.summary
    assert len(summary) == 6
    assert list(summary["status"]) == ["ok"] * 5 + ["oom"]
    auto = summary[summary["requested_batch_size"] == "auto"]
    assert 1 <= auto["batch_size"].iloc[0] < 8
    assert "batch size 1 does not fit" in auto["reason"].iloc[1]
    parquet = pd.read_parquet(finished.folder / "results/summary.parquet")
    assert list(parquet["run"]) == list(summary["run"])
    batches = [pd.read_csv(path) for path in finished.folder.glob("results/batches/*/*.csv")]
    assert sorted(run for batch in batches for run in batch["run"]) == sorted(summary["run"])


def test_tables_and_figures_are_there(finished):
    results = finished.folder / "results"
    tables = {path.name for path in (results / "tables").iterdir()}
    names = (
        "overview",
        "training",
        "training_by_size",
        "training_pivot",
        "training_modes",
        "batch_size",
    )
    assert {f"{name}.{suffix}" for name in names for suffix in ("md", "html")} <= tables
    figures = {path.name for path in (results / "figures").iterdir()}
    assert len(figures) == 12
    assert {path.rpartition(".")[2] for path in figures} == {"svg", "png"}


def test_every_result_carries_its_provenance(finished):
    for path in finished.folder.glob("results/runs/*/benchmark.json"):
        result = json.loads(path.read_text())
        assert result["run"] == path.parent.name
        assert result["provenance"]["packages"]["torch"]
        assert (result["status"] == "ok") == (result["metrics"] is not None)


def test_unchanged_nothing_runs(finished):
    assert finished.planned() == {}


def test_a_changed_size_runs_its_chain_and_the_aggregation(finished):
    finished.config["sizes"]["femto"]["d_ff"] = 24
    presentation = {
        "aggregate_results": 1, "tabulate_results_overview": 1, "tabulate_results_batch_size": 1,
        "plot_results_batch_size": 1, "tabulate_results_training": 1, "plot_results_training": 1,
    }  # fmt: skip
    measured = {"write_run": 2, "benchmark": 2, "write_batch": 1, "collect_batch": 1}
    assert finished.planned() == measured | presentation


def test_a_grown_grid_runs_the_new_runs_only(finished):
    before = {p: p.stat().st_mtime_ns for p in finished.folder.glob("results/runs/*/*.json")}
    finished.config["sweeps"]["fixed"]["mode"].insert(0, "forward_backward")
    finished.config["sweeps"] = dict(reversed(finished.config["sweeps"].items()))
    planned = finished.planned()
    assert planned["benchmark"] == planned["write_run"] == 2
    assert "find_batch_size" not in planned
    finished.run()
    assert len(finished.summary) == 8
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert finished.planned() == {}


def test_a_deleted_result_is_measured_again(finished):
    next(finished.folder.glob("results/runs/femto-*forward-*/benchmark.json")).unlink()
    assert finished.planned()["benchmark"] == 1


def test_failed_runs_are_retried_without_touching_others(finished):
    search = finished.config["sweeps"]["auto"]["batch_size_search"]
    search["probe_timeout_s"] = 0.001
    del finished.config["sweeps"]["auto"]["include"]
    finished.run()
    summary = finished.summary
    assert list(summary["status"]) == ["ok"] * 4 + ["failed"]
    assert "no result within 0.001 s" in summary["reason"].iloc[-1]
    assert finished.planned() == {}
    assert retry_failed.main(["--results-dir", str(finished.folder / "results")]) == 0
    planned = finished.planned()
    assert (planned["find_batch_size"], planned["benchmark"]) == (1, 1)


def test_one_batch_can_be_asked_for(finished):
    finished.config["max_batch_size"] = 3
    finished.run("results/batches/fixed/1.csv")
    assert len(pd.read_csv(finished.folder / "results/batches/fixed/1.csv")) == 1
    told = finished.call("-n", "results/batches/fixed/2.csv")
    assert told.returncode != 0
    assert "sweep fixed has the batches 0 to 1, not 2" in told.stdout + told.stderr


def test_the_report_is_built_and_whole(finished):
    finished.config["sweeps"]["fixed"]["description"] = "Sizes * `small` |and|\n tiny_"
    finished.run("--report", "report.html")
    report = (finished.folder / "report.html").read_text()
    assert "5 finished" not in report  # counts stand by sweep
    assert "4 finished" in report
    assert "1 out of memory" in report
    assert "Sizes * `small` |and| tiny_" in report
    for label in ("Figure: Tokens per second", "Table: Complete Results", "Figure: Peak memory"):
        assert label in report
    assert not re.search(r"System Message|\(WARNING/", report)


def test_a_call_restricted_to_batches_makes_only_these(finished):
    finished.config["sweeps"] = {"fixed": finished.config["sweeps"]["fixed"]}
    finished.config["sweeps"]["fixed"]["context_length"] = [8, 16]
    finished.config["max_batch_size"] = 3
    finished.run("--config", "batches=1-2")
    batches = sorted(path.name for path in finished.folder.glob("results/batches/fixed/*.csv"))
    assert batches == ["0.csv", "1.csv", "2.csv"]  # the first one is of the call before
    assert len(finished.summary) == 6
    finished.run()
    assert len(finished.summary) == 8


def test_the_shipped_slurm_profile_asks_for_a_gpu_for_each_measurement(tmp_path):
    sweeps = {"gpu": CONFIG["sweeps"]["fixed"], "cpu": CONFIG["sweeps"]["auto"] | {"device": "cpu"}}
    command = Workflow(tmp_path, CONFIG | {"sweeps": sweeps}).command("-n", "--profile", "slurm")
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    asked = Counter()
    for job in told.stdout.split("\nrule ")[1:]:
        rule, asks = job.partition(":")[0], dict(re.findall(r"(\w+)=([^,\s]+)", job))
        if rule in MEASURING:
            auto, partition = "auto" in asks["run"], asks["slurm_partition"]
            asked[rule, auto, partition, asks["gpu"], asks["runtime"]] += 1
    assert asked == {
        ("benchmark", False, "gpu", "1", "60"): 4,
        ("benchmark", True, "cpu", "0", "60"): 2,
        ("find_batch_size", True, "cpu", "0", "60"): 2,
    }


def test_inference_runs_are_planned_counted_and_stable_under_insertion(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    master = yaml.safe_load((ROOT / "config/examples/inference/nvidia.yaml").read_text())
    (tmp_path / "master.yaml").write_text(yaml.safe_dump(master, sort_keys=False))
    sweep = {"kind": "inference", "config_files": "master.yaml", "test_mode": True}
    workflow = Workflow(tmp_path, {"sweeps": {"serving": sweep}})
    workflow.run()
    summary = workflow.summary
    assert len(summary) > 3
    assert set(summary["status"]) == {"unsupported"}
    told = "on CUDA devices only|over several nodes|needs draft_model"
    assert summary["reason"].str.contains(told).all()
    name, entry = next(iter(master.items()))
    new = {f"new-{name}": entry | {"model": "somebody/else"}}
    (tmp_path / "master.yaml").write_text(yaml.safe_dump(new | master, sort_keys=False))
    planned = workflow.planned()
    points = len(entry["seq-len-configs"])
    assert planned["serve_benchmark"] == planned["collect_point"] == planned["write_run"] == points
    assert (
        sum(planned.values()) - 3 * points <= 6
    )  # the batch, its list, summary, overview, table, figures
