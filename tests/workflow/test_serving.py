"""Served models in the workflow: a server a setting, a job a point, nothing measured twice."""

import copy
import json
import re
import shutil
import time

import pandas as pd
import pytest

from scripts import retry_failed
from tests.unit.serving_cases import served_processes
from tests.workflows import Workflow

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
    assert not list(served.folder.glob("results/servers/*/measured/*"))


def test_nothing_changed_nothing_runs(served):
    assert served.planned() == {}


def test_a_concurrency_more_starts_once_and_measures_one_point(served):
    before = results(served)
    entry = served.config["sweeps"]["served"]["entries"]["embedded"]
    entry["seq-len-configs"][0]["search-space"][0]["conc-list"] = [1, 3, 2]
    planned = served.planned()
    assert (planned["write_run"], planned["serve_benchmark"]) == (1, 1)
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
    healthy = lambda: sum("healthy after" in log.read_text() for log in logs(served))  # noqa: E731
    first = healthy()
    process = served.start()
    wait_until(lambda: healthy() > first)
    time.sleep(0.7)  # it is at its requests, which take some seconds
    for server in served_processes():
        server.kill()
    assert process.wait(timeout=120) == 0, (served.folder / "output").read_text()
    rows = served.summary[served.summary["sweeps"] == "killed"]
    assert list(rows["status"]) == ["failed", "ok"]
    assert "the server ended" in rows["reason"].iloc[0]
    assert served.planned() == {}
    assert retry_failed.main(["--results-dir", str(served.folder / "results")]) == 0
    # Beside it the two points whose server is never healthy, which are tried again, too.
    recover(served, "SIGKILL of a server", "its point", serve_benchmark=3)
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


def test_a_deleted_point_is_measured_alone(served):
    next(served.folder.glob("results/runs/embedded*transformers*conc2*/inference.json")).unlink()
    assert served.planned()["serve_benchmark"] == 1


def test_failed_points_are_retried_alone(served):
    assert retry_failed.main(["--results-dir", str(served.folder / "results")]) == 0
    assert served.planned()["serve_benchmark"] == 2


def test_what_a_killed_call_measured_is_kept(served):
    # As a job leaves it that was killed before its peers fetched their points.
    (path,) = served.folder.glob("results/runs/embedded*transformers*conc2*/inference.json")
    before = path.read_text()
    run = path.parent.name
    (folder,) = (
        wanted.parent
        for wanted in served.folder.glob("results/servers/*/wanted.json")
        if run in wanted.read_text()
    )
    path.replace(folder / "measured" / f"{run}.json")
    path.with_name("requests.parquet").replace(folder / "measured" / f"{run}.parquet")
    served.run()
    assert path.read_text() == before


def test_one_point_of_a_server_asks_for_its_gpus(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    space = [{"tp": 2, "conc-list": [4, 1, 16]}, {"tp": 1, "conc-list": [8, 2]}]
    entry = ENTRY | {
        "model": "org/model", "framework": "vllm",
        "seq-len-configs": [{"isl": 16, "osl": 32, "search-space": space}],
    }  # fmt: skip
    sweep = {"kind": "inference", "entries": {"hub": entry}, "server": {"device": "cuda"}}
    output = Workflow(tmp_path, {"sweeps": {"s": sweep}}).run("-n", "--cores", "8")
    jobs = output.split("rule serve_benchmark:")[1:]
    asked = {}
    for job in (text.split("\n\n")[0] for text in jobs):
        point = re.search(r"vllm-cpu-(tp\d)-ep1-(conc\d+)", job).groups()
        asked[point] = (re.search(r"gpu=(\d)", job)[1], "priority: 1" in job)
        assert "threads" not in job, "a job that waits takes one core"
    assert asked == {
        ("tp2", "conc1"): ("2", True), ("tp2", "conc4"): ("0", False),
        ("tp2", "conc16"): ("0", False), ("tp1", "conc2"): ("1", True),
        ("tp1", "conc8"): ("0", False),
    }  # fmt: skip


def test_the_report_has_its_table_and_figures(served):
    served.run("--report", "report.html")
    report = (served.folder / "report.html").read_text()
    for label in ("Table: Served Models", "Figure: Throughput against latency"):
        assert label in report
    assert "Figure: Tokens per second" not in report
