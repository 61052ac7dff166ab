"""From records of steps to figures: what is counted, and with what weight."""

import numpy as np
import pytest
import yaml
from ddp_ranks import ddp_run

from scripts.lib.kinds.ddp.config import DdpMeasurement
from scripts.lib.kinds.ddp.directories import metrics_of
from scripts.lib.kinds.ddp.figures import step_time
from scripts.lib.kinds.ddp.outcome import MIN_PAIRS, collect_metrics
from scripts.lib.kinds.ddp.records import COLUMNS, write_csv, write_text_summary
from scripts.lib.schema.errors import InputError
from tests.conftest import ROOT

PLACE = {"backend": "gloo", "pinned": True, "largest_local_batch": None,
         "cost_coefficients": None, "warnings": []}  # fmt: skip


def write_directory(folder, times, waits=None):
    """A run directory of two ranks with these step times and shares of waiting on rank 1."""
    waits = waits or [0.0] * len(times)
    rows = [
        dict.fromkeys(COLUMNS, 1) | {
            "step": step, "rank": rank, "step_time_ms": time, "wait_ms": rank * wait * time,
            "peak_mem_mib": 100 + rank,
        }
        for step, (time, wait) in enumerate(zip(times, waits, strict=True))
        for rank in (0, 1)
    ]  # fmt: skip
    write_csv(folder / "merged_metrics.csv", rows)
    write_csv(folder / "summary.csv", [{"eval_loss": 1.0, "eval_accuracy": 0.5}])
    write_text_summary(folder, np.array([3, 5, 5]), 1)


def collect(folder, steps, block_steps):
    run = ddp_run(modes=["static", "sorted"], steps=steps, warmup_steps=2, block_steps=block_steps)
    return collect_metrics(run, lambda mode, _: folder / mode, **PLACE)


def test_gain_is_the_ratio_of_mean_step_times_though_the_last_block_is_short(tmp_path):
    write_directory(tmp_path / "static", [9, 9, 20, 20, 20, 20, 20, 20, 90])
    write_directory(tmp_path / "sorted", [9, 9, 10, 10, 10, 10, 10, 10, 10])
    found = collect(tmp_path, 9, 4)
    ratio = found.mode("static").mean_step_time_ms / found.mode("sorted").mean_step_time_ms
    assert found.mode("sorted").gain == pytest.approx(ratio)
    assert found.mode("sorted").gain == pytest.approx(210 / 70)


@pytest.mark.parametrize(("steps", "known"), [(7, False), (8, True)])
def test_gain_has_an_interval_from_six_pairs_on(steps, known, tmp_path):
    for mode, times in (("static", range(2, 10)), ("sorted", range(1, 9))):
        write_directory(tmp_path / mode, list(times)[:steps])
    found = collect(tmp_path, steps, 1).mode("sorted")
    assert found.gain > 1
    assert (found.gain_ci_low is not None) == known
    assert not known or found.gain_ci_low < found.gain < found.gain_ci_high


def test_waiting_in_the_warm_up_does_not_count_and_memory_is_that_of_the_run(tmp_path):
    for mode in ("static", "sorted"):
        write_directory(tmp_path / mode, [1000, 1000, 10, 10], [0.9, 0.9, 0.25, 0.25])
    found = collect(tmp_path, 4, 1)
    assert found.mode("static").seeds[0].wait_share == [0, 0.25]
    assert found.peak_memory_mib == 101


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("text.json", "[]", "is no summary of a text"),
        ("text.json", None, "cannot be read"),
        ("summary.csv", "eval_loss,eval_accuracy\n", "has no evaluation"),
        ("merged_metrics.csv", -5, "has not the same steps for every rank"),
        ("merged_metrics.csv", 17, "has 8 steps of 2 ranks, not 12 of 2"),
        ("merged_metrics.csv", 0, "has not the same steps for every rank"),
        ("config.yaml", "mode: foo\nseed: 0\n", "modes.0: must be 'static', 'dynamic' or 'sorted'"),
        ("config.yaml", "seed: 0\n", "has no mode"),
    ],
)
def test_a_damaged_directory_is_told_in_one_line(name, content, message, tmp_path):
    folders = [hand_made(tmp_path / mode, mode) for mode in ("static", "sorted")]
    path = folders[name != "text.json"] / name
    if content is None:
        path.unlink()
    elif isinstance(content, int):  # lines that remain, or characters that are cut off
        text = path.read_text()
        lines = text.splitlines(keepends=True)[:content]
        path.write_text("".join(lines) if content >= 0 else text[:content])
    else:
        path.write_text(content)
    with pytest.raises(InputError) as caught:
        metrics_of(folders)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(str(path))
    assert message in line


def test_only_the_keys_that_differ_are_told(tmp_path):
    static = hand_made(tmp_path / "static", "static")
    data = {"path": "csv", "data_files": ["rows.csv"]}
    other = hand_made(tmp_path / "sorted", "sorted", dataset=data)
    with pytest.raises(InputError) as caught:
        metrics_of([static, other])
    assert str(caught.value) == f"{other}: dataset.path is csv, but embedded in {static}"


def hand_made(folder, mode, **changes):
    """A run directory as `train_ddp` makes it by hand."""
    write_directory(folder, [10.0] * 12)
    settings = ddp_run(modes=[mode], **changes).model_dump() | {"mode": mode, "seed": 0}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    return folder


def test_panels_of_runs_that_differ_have_different_titles(tmp_path):
    results = [
        metrics_of([hand_made(tmp_path / str(number), "static", **changes)])
        for number, changes in enumerate(
            [{}, {"precision": "bf16_mixed"}, {"task": "causal_lm"}, {"max_length": 32}]
        )
    ]
    axes = [a for a in step_time(results).axes if a.get_title()]
    titles = [a.get_title() for a in axes]
    assert len(set(titles)) == 4
    assert "precision bf16_mixed" in titles[1]
    assert "task causal_lm" in titles[2]
    assert "precision" not in titles[3]


@pytest.mark.parametrize("name", ["config.yaml", "examples/ddp.yaml"])
def test_sweeps_that_come_along_have_blocks_enough_for_an_interval(name):
    sweeps = yaml.safe_load((ROOT / "config" / name).read_text())["sweeps"].values()
    compared = [sweep for sweep in sweeps if sweep["kind"] == "ddp" and "modes" not in sweep]
    assert compared
    for sweep in compared:
        run = DdpMeasurement.model_validate(
            {key: value for key, value in sweep.items() if key in DdpMeasurement.model_fields}
        )
        blocks = -(-(run.steps - run.warmup_steps) // run.block_steps)
        assert blocks * len(run.seeds) >= MIN_PAIRS
