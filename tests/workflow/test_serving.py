"""Served models in the workflow: a server a setting, a job a point, nothing measured twice."""

import copy
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from scripts import retry_failed
from tests.unit.serving_cases import served_processes
from tests.workflows import TO_SUMMARY, Workflow

ENTRY = {
    "image": "none", "model": "embedded", "model-prefix": "embedded", "precision": "fp32",
    "framework": "transformers", "runner": "cpu",
    "seq-len-configs": [{"isl": 16, "osl": 32, "search-space": [{"tp": 1, "conc-list": [1, 2]}]}],
}  # fmt: skip
SWEEP = {
    "kind": "inference",
    "load": {"prompts_per_conc": 4, "warmups_per_conc": 1},
    "server": {"device": "cpu"},
}
CONFIG = {
    "sweeps": {
        "served": {
            **SWEEP,
            "entries": {
                "embedded": copy.deepcopy(ENTRY),
                "elsewhere": ENTRY | {"framework": "vllm", "precision": "bf16"},
                "unknown": ENTRY | {"framework": "dynamo"},
            },
        },
        # Never healthy: the sweep goes on without it.
        "failing": {
            **SWEEP,
            "entries": {"failing": ENTRY | {"model-prefix": "failing"}},
            "server": {"device": "cpu", "start_timeout_s": 0.05},
        },
    }
}


@pytest.fixture(scope="module")
def _served(tmp_path_factory) -> Workflow:
    folder = tmp_path_factory.mktemp("served")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SWEEPMAKE_LOCKS", str(folder))
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        workflow = Workflow(folder, CONFIG)
        workflow.run()
        assert served_processes() == []
    return workflow


@pytest.fixture
def served(_served, tmp_path) -> Workflow:
    folder = tmp_path / "served"
    shutil.copytree(_served.folder, folder, symlinks=True)
    return Workflow(folder, copy.deepcopy(CONFIG))


def results(workflow, pattern="*"):
    paths = workflow.folder.glob(f"results/runs/{pattern}/inference.json")
    return {path.parent.name: json.loads(path.read_text()) for path in paths}


def test_every_point_has_its_row_and_a_server_one_start(served):
    summary = served.summary
    assert len(summary) == 8
    measured = summary[summary["status"] == "ok"]
    assert list(measured["conc"].astype(int)) == [1, 2]
    assert (measured["output_tokens"] == measured["num_prompts"] * 32).all()
    assert (measured["num_wrong_length"] == 0).all()
    assert measured["server_boot"].nunique() == 1
    assert set(measured["server_boots"]) == {1}
    assert measured["intvty"].notna().all()
    rows = summary[summary["status"] != "ok"]
    assert list(rows["status"]) == ["unsupported"] * 4 + ["failed"] * 2
    reasons = rows["reason"].tolist()
    assert "vllm serves on CUDA devices only" in reasons[0]
    assert "framework 'dynamo' is not in config/frameworks.yaml" in reasons[2]
    assert "not healthy within 0.05 s" in reasons[4]
    assert not (rows["server_boots"] > 0).any()


def test_requests_stand_beside_the_result(served):
    for run in results(served, "embedded_*transformers*"):
        requests = pd.read_parquet(served.folder / f"results/runs/{run}/requests.parquet")
        assert (requests["usage_tokens"] == 32).all()
        assert (requests["prompt_tokens"] == requests["usage_prompt_tokens"]).all()


def test_nothing_changed_nothing_runs(served):
    assert served.planned() == {}


def test_a_concurrency_more_starts_once_and_measures_one_point(served):
    before = results(served)
    entry = served.config["sweeps"]["served"]["entries"]["embedded"]
    entry["seq-len-configs"][0]["search-space"][0]["conc-list"] = [1, 3, 2]
    planned = served.planned()
    assert (planned["write_run"], *(planned[rule] for rule in COLLECTED)) == (1, 1, 1)
    served.run()
    after = results(served)
    new = after.keys() - before.keys()
    assert {run: after[run] for run in before} == before
    (result,) = (after[run] for run in new)
    assert (result["settings"]["conc"], result["status"]) == (3, "ok")
    assert result["boot"]["server_boots"] == 1
    assert result["boot"]["server_boot"] not in {
        r["boot"]["server_boot"] for r in before.values() if r["boot"]
    }
    assert served.planned() == {}
    assert served_processes() == []


def test_a_killed_server_costs_its_point_and_no_other(served, recover):
    before = results(served)
    entry = served.config["sweeps"]["served"]["entries"]["embedded"]
    sweep = {**SWEEP, "load": {"prompts_per_conc": 100}, "entries": {"embedded": entry}}
    served.config["sweeps"]["killed"] = copy.deepcopy(sweep)
    for log in logs(served):
        log.unlink()
    process = served.start()
    wait_until(lambda: any("healthy after" in log.read_text() for log in logs(served)))
    time.sleep(0.7)  # it is at its requests, which take some seconds
    for server in served_processes():
        server.kill()
    assert process.wait(timeout=120) == 0, (served.folder / "output").read_text()
    rows = served.summary[served.summary["sweeps"] == "killed"]
    assert list(rows["status"]) == ["failed", "ok"]
    assert "the server ended" in rows["reason"].iloc[0]
    assert served.planned() == {}
    assert retry_failed.main(["--results-dir", str(served.folder / "results")]) == 0
    # Beside it the server that is never healthy, which is tried again, too.
    recover(served, "SIGKILL of a server", "its point", serve_benchmark=2)
    rows = served.summary[served.summary["sweeps"] == "killed"]
    assert list(rows["status"]) == ["ok", "ok"]
    kept = {run: result for run, result in results(served).items() if run in before}
    unserved = {run for run, result in before.items() if result["status"] == "failed"}
    assert all(kept[run] == before[run] for run in before.keys() - unserved)
    assert served_processes() == []


def logs(workflow):
    return workflow.folder.glob("logs/serve_benchmark/*.log")


def wait_until(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.02)


POINTS = "embedded_*transformers*"
COLLECTED = ("serve_benchmark", "collect_point")


def jobs(workflow, *arguments):
    """Planned jobs that serve and collect."""
    planned = workflow.planned(*arguments)
    return {rule: n for rule, n in planned.items() if rule in COLLECTED}


def result_of(workflow, conc):
    (path,) = workflow.folder.glob(f"results/runs/{POINTS}conc{conc}-*/inference.json")
    return path


def measured_of(workflow, path):
    (found,) = workflow.folder.glob(f"results/servers/*/measured/{path.parent.name}.json")
    return found


def test_points_are_counted_alone(served):
    told = show_status_of(served)
    assert told["status"] == {"ok": 2, "unsupported": 4, "failed": 2}


def show_status_of(workflow):
    workflow.command()
    command = ["-m", "scripts.show_status", "--config", workflow.folder / "config.yaml"]
    done = subprocess.run(
        [sys.executable, *map(str, command)], cwd=workflow.folder, capture_output=True, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_text("{")])
def test_a_lost_result_is_brought_back_from_its_server(served, damage):
    path = result_of(served, 2)
    before = path.read_text()
    damage(path)
    assert retry_failed.main(["--results-dir", str(served.folder / "results"),
                              "--status", "oom"]) == 0  # fmt: skip
    assert jobs(served) == {"collect_point": 1}
    served.run()
    assert path.read_text() == before
    assert path.with_name("requests.parquet").exists()
    assert served.planned() == {}


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_text("{")])
@pytest.mark.parametrize("options", [(), ("--rerun-triggers", "mtime")])
def test_a_result_lost_with_its_measurement_is_measured_alone(served, damage, options):
    before = results(served)
    path = result_of(served, 2)
    damage(measured_of(served, path))
    path.unlink()
    assert jobs(served, *options) == {"serve_benchmark": 1, "collect_point": 1}
    served.run(*options, *TO_SUMMARY)
    after = results(served)
    changed = {run for run in before if before[run] != after[run]}
    assert changed == {path.parent.name}
    assert after[path.parent.name]["status"] == "ok"
    assert jobs(served, *options) == {}


def test_failed_points_are_retried_alone(served):
    before = results(served)
    assert retry_failed.main(["--results-dir", str(served.folder / "results")]) == 0
    assert jobs(served) == {"serve_benchmark": 1, "collect_point": 2}
    served.run(*TO_SUMMARY)
    after = results(served)
    changed = {run for run in before if before[run] != after[run]}
    assert changed == {run for run, result in before.items() if result["status"] == "failed"}
    assert jobs(served) == {}


def test_a_removed_point_starts_no_server(served):
    space = served.config["sweeps"]["served"]["entries"]["embedded"]["seq-len-configs"][0]
    space["search-space"][0]["conc-list"] = [1]
    assert jobs(served) == {}
    served.run(*TO_SUMMARY)
    assert len(served.summary) == 7
    assert served.planned(*TO_SUMMARY) == {}
    space["search-space"][0]["conc-list"] = [1, 2]
    assert jobs(served) == {}


def test_another_setting_of_a_server_measures_its_points_only(served):
    entry = served.config["sweeps"]["served"]["entries"]["embedded"]
    entry["seq-len-configs"][0]["osl"] = 16
    assert jobs(served) == {"serve_benchmark": 1, "collect_point": 2}


def test_a_raised_version_measures_every_point_once(served):
    """As if all were measured by the version before."""
    for path in served.folder.glob("results/servers/*/measured/*.json"):
        rewrite(path, lambda result: result | {"measurement_version": 0})
    older = {"status": "ok", "measurement_version": 0}
    for path in served.folder.glob("results/servers/*/points.json"):
        rewrite(path, lambda points: dict.fromkeys(points, older))
    assert jobs(served) == {"serve_benchmark": 4, "collect_point": 8}
    assert jobs(served, "--rerun-triggers", "mtime") == {}
    served.run(*TO_SUMMARY)
    assert jobs(served) == {}


def rewrite(path, change):
    """Change a file that stays as old as it is."""
    state = path.stat()
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def test_batches_of_a_server_do_not_undo_each_other(served):
    served.config["sweeps"] = {"served": served.config["sweeps"]["served"]}
    served.config["sweeps"]["served"]["entries"] = {"embedded": ENTRY}
    served.config["max_batch_size"] = 1
    for number in ("0", "1"):
        assert jobs(served, "--config", f"batches={number}") == {}


def test_what_a_killed_call_measured_is_kept(served):
    """A job that is killed leaves its finished points and no list."""
    path, other = result_of(served, 2), result_of(served, 1)
    before = path.read_text()
    measured_of(served, other).unlink()
    other.unlink()
    (measured_of(served, path).parents[1] / "points.json").unlink()
    path.unlink()
    served.run(*TO_SUMMARY)
    assert path.read_text() == before
    assert json.loads(other.read_text())["boot"] != json.loads(before)["boot"]
    assert jobs(served) == {}


def test_a_server_asks_for_its_gpus(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    space = [{"tp": 2, "conc-list": [4, 1, 16]}, {"tp": 1, "conc-list": [8, 2]}]
    entry = ENTRY | {
        "model": "org/model", "framework": "vllm",
        "seq-len-configs": [{"isl": 16, "osl": 32, "search-space": space}],
    }  # fmt: skip
    sweep = {"kind": "inference", "entries": {"hub": entry}, "server": {"device": "cuda"}}
    output = Workflow(tmp_path, {"sweeps": {"s": sweep}}).run("-n", "--cores", "8")
    asked = {}
    for job in (text.split("\n\n")[0] for text in output.split("rule serve_benchmark:")[1:]):
        asked[re.search(r"vllm-cpu-(tp\d)-ep1", job)[1]] = re.search(r"gpu=(\d)", job)[1]
        assert "threads" not in job, "beside a GPU one core is enough"
    assert asked == {"tp2": "2", "tp1": "1"}


def test_the_report_has_its_table_and_figures(served):
    served.run("--report", "report.html")
    report = (served.folder / "report.html").read_text()
    for label in ("Table: Served Models", "Figure: Throughput against latency"):
        assert label in report
    assert "Figure: Tokens per second" not in report
