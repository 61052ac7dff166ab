"""Communication runs through the workflow: rows, table, figures, and nothing twice."""

import pandas as pd

from tests.workflows import Workflow

CONFIG = {
    "sweeps": {
        "c": {
            "kind": "communication", "operation": ["all_reduce", "broadcast"], "device": "cpu",
            "message_bytes": [1024, 65536], "num_warmups": 1, "num_trials": 6, "num_iterations": 2,
        }
    }
}  # fmt: skip


def test_from_yaml_to_the_report(tmp_path):
    workflow = Workflow(tmp_path, CONFIG)
    workflow.run()
    summary = workflow.summary
    assert list(summary["status"]) == ["ok", "ok"]
    assert (summary["latency_us"] > 0).all()
    rows = pd.read_csv(tmp_path / "results/summary/communication.csv")
    assert list(rows["message_bytes"]) == [1024, 65536] * 2
    assert (rows["num_wrong"] == 0).all()
    table = (tmp_path / "results/tables/communication.html").read_text()
    assert "reduce" in table
    assert "all 1" in table, "further columns are behind a switch"
    for name in ("bandwidth", "time"):
        assert (tmp_path / f"results/figures/communication_{name}.png").stat().st_size > 10_000
    assert workflow.planned() == {}
    workflow.config["sweeps"]["c"]["dtype"] = ["float32", "int32"]
    assert workflow.planned()["benchmark_communication"] == 2
    workflow.run("--report", "report.html", "--until", "aggregate_results")
