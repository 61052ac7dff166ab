"""Results are written whole, read back checked, collected without loss."""

import json
import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

from scripts import aggregate_results, benchmark, collect_batch, retry_failed, tabulate_results
from scripts.lib.config.runs import run_id
from scripts.lib.kinds.training.result import TrainingResult
from scripts.lib.results.files import atomic_path, write_text
from scripts.lib.results.reading import read_result
from scripts.lib.schema.errors import InputError
from scripts.lib.summary.rows import columns_of
from tests.conftest import ROOT, training_run


@pytest.fixture(scope="session")
def measured(tmp_path_factory, tokens) -> str:
    """The text of a real result."""
    folder = tmp_path_factory.mktemp("measured")
    settings = training_run(device="cpu").model_dump()
    run = {"run": run_id(settings), "settings": settings}
    (folder / "run.json").write_text(json.dumps(run))
    arguments = ["--run", str(folder / "run.json"), "--tokens", str(tokens)]
    assert benchmark.main([*arguments, "--output", str(folder / "benchmark.json")]) == 0
    return (folder / "benchmark.json").read_text()


@pytest.fixture
def results(tmp_path, measured):
    """A results folder with a batch of three runs, one of them out of memory."""

    def write(run, **changes):
        data = json.loads(measured) | {"run": run} | changes
        write_text(tmp_path / "runs" / run / "benchmark.json", json.dumps(data))

    write("a-00000001")
    write("b-00000002", status="oom", reason="too large", metrics=None)
    write("c-00000003")
    batch = {"sweep": "s", "batch": 0, "kind": "training"}
    batch["runs"] = ["a-00000001", "b-00000002", "c-00000003"]
    write_text(tmp_path / "batches/s/0.json", json.dumps(batch))
    batch |= {"sweep": "t", "runs": ["c-00000003"]}
    write_text(tmp_path / "batches/t/0.json", json.dumps(batch))
    return tmp_path


def aggregate(folder, *arguments):
    return aggregate_results.main(["--results-dir", str(folder), *map(str, arguments)])


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    target = tmp_path / "x.json"
    write_text(target, "old")
    with pytest.raises(FileExistsError), atomic_path(target) as temporary:
        temporary.touch(exist_ok=False)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_writer_that_is_killed_leaves_the_old_file(tmp_path):
    target = tmp_path / "x.json"
    write_text(target, "old")
    code = (
        "import sys, time\nfrom scripts.lib.results.files import atomic_path\n"
        "with atomic_path(sys.argv[1]) as t:\n"
        "    t.write_text('half'); print('ready', flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(target)], cwd=ROOT, stdout=subprocess.PIPE
    )
    process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert target.read_text() == "old"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is empty"),
        ('{"schema_version": 2, "run"', "not a valid TrainingResult"),
        ('{"schema_version": 3}', "has schema_version 3, this program reads 1 to 2"),
        ('{"hello": "world"}', "not a valid TrainingResult"),
        ("[1, 2]", "not a valid TrainingResult"),
    ],
)
def test_files_that_are_no_results_are_told_in_one_line(tmp_path, text, told):
    path = tmp_path / "benchmark.json"
    path.write_text(text)
    with pytest.raises(InputError, match=told) as error:
        read_result(path, TrainingResult)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_a_result_round_trips(measured, tmp_path):
    path = tmp_path / "x.json"
    path.write_text(measured)
    result = read_result(path, TrainingResult)
    assert json.loads(result.model_dump_json()) == json.loads(measured)


def test_the_summary_has_a_row_a_run_with_stable_typed_columns(results):
    csv, parquet = results / "s.csv", results / "s.parquet"
    assert aggregate(results, "--csv", csv, "--parquet", parquet) == 0
    frame = pd.read_parquet(parquet)
    assert list(frame["run"]) == ["a-00000001", "b-00000002", "c-00000003"]
    assert list(frame["sweeps"]) == ["s", "s", "s t"]
    assert list(frame["status"]) == ["ok", "oom", "ok"]
    assert list(frame.columns) == list(columns_of("training"))
    assert list(pd.read_csv(csv).columns) == list(frame.columns)
    assert frame["batch_size"].dtype == "Int64"
    assert frame["median_step_time_ms"].isna().tolist() == [False, True, False]


def test_csv_keeps_every_digit(results, measured):
    csv = results / "s.csv"
    aggregate(results, "--csv", csv)
    expected = json.loads(measured)["metrics"]["median_step_time_ms"]
    assert pd.read_csv(csv)["median_step_time_ms"][0] == expected


@pytest.mark.parametrize("harm", ["remove", "cut", "swap"])
def test_missing_results_are_named_and_the_command_fails(results, harm, capsys):
    path = results / "runs/c-00000003/benchmark.json"
    if harm == "remove":
        path.unlink()
    elif harm == "cut":
        path.write_text(path.read_text()[:100])
    else:
        path.write_text((results / "runs/a-00000001/benchmark.json").read_text())
    csv = results / "s.csv"
    assert aggregate(results, "--csv", csv) == 2
    assert "1 of 3 runs are missing:\nc-00000003: " in capsys.readouterr().err
    frame = pd.read_csv(csv)
    assert list(frame["status"]) == ["ok", "oom", "missing"]
    assert "benchmark.json" in frame["reason"][2]
    batch = ["--batch", str(results / "batches/t/0.json"), "--results-dir", str(results)]
    assert collect_batch.main([*batch, "--output", str(results / "b.csv")]) == 2


def test_a_batch_has_the_rows_of_its_runs(results):
    batch = ["--batch", str(results / "batches/s/0.json"), "--results-dir", str(results)]
    assert collect_batch.main([*batch, "--output", str(results / "b.csv")]) == 0
    assert len(pd.read_csv(results / "b.csv")) == 3


@pytest.mark.parametrize("text", ["{}", '{"sweep": "s", "batch": 0, "kind": "training", "runs": null}',
    '{"sweep": "s", "batch": 0, "kind": "training", "runs": ["../../etc"]}'])  # fmt: skip
def test_batch_files_that_are_none_are_told(results, text, capsys):
    (results / "batches/s/0.json").write_text(text)
    assert aggregate(results, "--csv", results / "s.csv") == 2
    assert "not a batch file" in capsys.readouterr().err


def test_bad_arguments_are_told(results, capsys):
    assert aggregate(results, "--sweeps", "s", "--csv", results / "s.csv") == 2
    assert "--sweeps: must be NAME:BATCHES" in capsys.readouterr().err
    (results / "summary.parquet").write_text("a,b")
    options = ["--output-dir", str(results), "--results-dir", str(results)]
    assert tabulate_results.main(options) == 2
    assert "not a Parquet file" in capsys.readouterr().err
    assert aggregate(results, "--parquet", results / "summary.parquet") == 0
    assert tabulate_results.main([*options, "--tables", "no"]) == 2
    assert "--tables: unknown 'no'" in capsys.readouterr().err


def test_retry_removes_unreadable_run_files(results):
    path = results / "runs/a-00000001/run.json"
    path.write_text("")
    assert retry_failed.main(["--results-dir", str(results)]) == 0
    assert not path.exists()
    assert path.with_name("benchmark.json").exists()


def test_retry_removes_failed_results_only(results, measured):
    data = json.loads(measured) | {"run": "d-00000004", "status": "failed", "reason": "boom"}
    failed = results / "runs/d-00000004/benchmark.json"
    write_text(failed, json.dumps(data | {"metrics": None}))
    cut = results / "runs/e-00000005/benchmark.json"
    write_text(cut, measured[:200])
    assert retry_failed.main(["--results-dir", str(results)]) == 0
    assert not failed.exists()
    assert not cut.exists()
    assert len(list(results.glob("runs/*/benchmark.json"))) == 3
    unsupported = {"run": "f-00000006", "status": "unsupported", "metrics": None}
    write_text(results / "runs/f-00000006/benchmark.json", json.dumps(data | unsupported))
    told = ["--results-dir", str(results), "--status", "failed"]
    assert retry_failed.main(told) == 0
    assert (results / "runs/f-00000006/benchmark.json").exists()
    assert retry_failed.main([*told, "unsupported"]) == 0
    assert len(list(results.glob("runs/*/benchmark.json"))) == 3


DOCUMENT = {
    "model_size": "medium", "vocab": 10000, "context_length": 256, "d_model": 1024, "d_ff": 4096,
    "num_layers": 24, "num_heads": 16, "batch_size": 4, "num_steps": 1, "num_warmups": 5,
    "num_trials": 10, "forward_only": False, "mean_time_ms": 123.89, "std_time_ms": 0.28,
    "trial_times_ms": [123.45, 124.32, 123.89, 124.01, 123.67, 123.55, 124.11, 123.78, 124.22, 123.91],
    "device": "cuda:0",
}  # fmt: skip


@pytest.fixture
def documents(tmp_path):
    """Result files in the flat form, with and without the backward pass."""
    for size, context in (("small", 128), ("medium", 128), ("medium", 256)):
        for forward_only in (False, True):
            data = DOCUMENT | {"model_size": size, "context_length": context}
            data |= {
                "forward_only": forward_only,
                "mean_time_ms": 50.0 if forward_only else 150.0,
            }
            del data["trial_times_ms"]
            path = tmp_path / f"bench_{size}_{context}_{forward_only}.json"
            path.write_text(json.dumps(data))
    return tmp_path


def test_result_files_in_the_documents_form_are_aggregated(documents):
    output, csv = documents / "out.md", documents / "out.csv"
    assert aggregate(documents, "--output", output, "--csv", csv) == 0
    frame = pd.read_csv(csv)
    assert len(frame) == 6
    assert set(frame["mean_step_time_ms"]) == {50.0, 150.0}
    text = output.read_text()
    for heading in (
        "## Complete Results",
        "## Results by Model Size",
        "## Results by Context Length",
        "## Forward-Only vs Forward+Backward Comparison",
    ):
        assert heading in text


def test_trial_times_of_the_documents_form_are_used(tmp_path):
    (tmp_path / "bench_medium_256.json").write_text(json.dumps(DOCUMENT))
    csv = tmp_path / "out.csv"
    assert aggregate(tmp_path, "--csv", csv) == 0
    row = pd.read_csv(csv).iloc[0]
    assert row["mean_step_time_ms"] == row["mean_time_ms"] == 123.89
    assert row["std_step_time_ms"] == row["std_time_ms"] == 0.28
    assert row["median_step_time_ms"] == pytest.approx(123.9)
    assert row["tokens_per_s"] == pytest.approx(4 * 256 / 0.1239)


def test_the_comparison_stands_only_where_both_modes_exist(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(DOCUMENT))
    assert aggregate(tmp_path, "--output", tmp_path / "out.md") == 0
    assert "Forward-Only" not in (tmp_path / "out.md").read_text()


@pytest.mark.parametrize(
    "text",
    ["{", "{}", '{"model_size": "x"}', json.dumps(DOCUMENT | {"mean_time_ms": -1.0}),
     json.dumps(DOCUMENT | {"trial_times_ms": [float("nan")]})],
)  # fmt: skip
def test_other_files_are_told(tmp_path, text, capsys):
    (tmp_path / "a.json").write_text(text)
    assert aggregate(tmp_path, "--csv", tmp_path / "out.csv") == 2
    assert "a.json" in capsys.readouterr().err
    assert not (tmp_path / "out.csv").exists()


def test_an_empty_folder_is_told(tmp_path, capsys):
    assert aggregate(tmp_path, "--csv", tmp_path / "out.csv") == 2
    assert "holds neither" in capsys.readouterr().err
    assert aggregate(tmp_path / "no", "--csv", tmp_path / "out.csv") == 2


def test_progress_in_a_log_is_plain_lines(caplog):
    from scripts.lib.runtime.progress import progress

    caplog.set_level("INFO")
    with progress("work", 3) as advance:
        for _ in range(3):
            advance()
            time.sleep(0.001)
    assert caplog.messages[0] == "work: 0 of 3"
    assert caplog.messages[-1].startswith("work: 3 of 3 in ")
