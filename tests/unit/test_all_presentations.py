"""Programs know all tables and figures of all kinds, whatever a folder of results holds."""

import json
import shutil

import pandas as pd
import pytest

from scripts import aggregate_results, plot_results, tabulate_results
from scripts.lib.kinds.registry import KINDS
from scripts.lib.report.registry import figures, tables
from tests.conftest import ROOT

FORMER = ROOT / "tests/data/results_0.1.0/runs"


def write_folder(folder, kinds):
    """A folder of results with one sweep of each of these kinds."""
    for path in FORMER.glob("*/run.json"):
        run = json.loads(path.read_text())
        kind = run["settings"]["kind"]
        if kind not in kinds:
            continue
        target = folder / "runs" / run["run"]
        shutil.copytree(path.parent, target)
        former = KINDS[kind].former_result_file
        if former:
            (target / former).rename(target / KINDS[kind].result_file)
        batch = folder / "batches" / kind / "0.json"
        batch.parent.mkdir(parents=True, exist_ok=True)
        runs = json.loads(batch.read_text())["runs"] if batch.exists() else []
        content = {"sweep": kind, "batch": 0, "kind": kind, "runs": [*runs, run["run"]]}
        batch.write_text(json.dumps(content))
    arguments = ["--results-dir", str(folder), "--parquet", str(folder / "summary.parquet")]
    code = aggregate_results.main(
        [*arguments, "--kinds-dir", str(folder / "summary"), "--output", str(folder / "all.md")]
    )
    assert code == 0
    return folder


@pytest.mark.parametrize("kind", ["training", "inference", "ddp", "accuracy"])
def test_every_table_and_figure_is_made_of_any_kinds(kind, tmp_path):
    folder = write_folder(tmp_path / "results", [kind])
    options = ["--results-dir", str(folder), "--output-dir", str(tmp_path / "out")]
    assert tabulate_results.main([*options, "--tables", *tables()]) == 0
    assert plot_results.main([*options, "--figures", *figures()]) == 0
    made = {path.stem for path in (tmp_path / "out").iterdir()}
    assert made == {*tables(), *figures()}


def test_without_names_there_is_what_the_folder_has(tmp_path, capsys):
    folder = write_folder(tmp_path / "results", ["training", "ddp"])
    options = ["--results-dir", str(folder), "--output-dir", str(tmp_path / "out")]
    assert tabulate_results.main(options) == 0
    made = json.loads(capsys.readouterr().out.splitlines()[-1])["tables"]
    assert {"overview", "training", "ddp", "batch_size"} <= set(made)
    assert not {"inference", "accuracy", "communication"} & set(made)
    assert plot_results.main(options) == 0
    made = json.loads(capsys.readouterr().out.splitlines()[-1])["figures"]
    assert "ddp_loss" in made
    assert "inference_latency" not in made
    text = (folder / "all.md").read_text()
    assert "## Data-Parallel Modes" in text
    assert "## Largest Batch Sizes" in text
    assert "## Served Models" not in text


def test_summaries_of_kinds_have_their_own_columns_and_rows(tmp_path):
    folder = write_folder(tmp_path / "results", ["training", "ddp"])
    ddp = pd.read_csv(folder / "summary/ddp.csv")
    assert list(ddp["mode"]) == ["static", "dynamic", "sorted"]
    assert "tokens_per_s" in ddp
    assert "context_length" not in ddp
    training = pd.read_csv(folder / "summary/training.csv")
    assert len(training) == 2
    assert "global_batch" not in training
    runs = pd.read_parquet(folder / "summary.parquet")
    assert len(runs) == 3
    assert runs["run"].is_unique
