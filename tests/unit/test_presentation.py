"""Tables and figures show what the summary holds."""

import itertools
import re

import pandas as pd
import pytest

from scripts.lib.kinds.registry import KINDS
from scripts.lib.kinds.training.tables import modes, pivot
from scripts.lib.presentation.render import html, markdown, text
from scripts.lib.presentation.style import save, use_style
from scripts.lib.report.overview.tables import overview
from scripts.lib.summary.collecting import table

TRAINING = KINDS["training"].presentation
TABLES = {shown.name: TRAINING.table(shown) for shown in TRAINING.tables}
FIGURES = {shown.name: TRAINING.figure(shown) for shown in TRAINING.figures}


def row(size="nano", context=64, mode="forward", **changes):
    cost = {"forward": 1, "forward_backward": 3, "training_step": 3.5}[mode]
    time = {"nano": 10.0, "tiny": 20.0}[size] * context / 64 * cost
    values = {
        "run": f"{size}-{context}-{mode}", "sweeps": "s", "kind": "training", "status": "ok",
        "reason": "", "model_size": size, "context_length": context, "mode": mode,
        "batch_size": 4, "requested_batch_size": "4", "precision": "fp32", "compile": False,
        "attn_implementation": "sdpa", "num_threads": 2, "forward_only": mode == "forward",
        "num_parameters": {"nano": 1000, "tiny": 5000}[size], "mean_step_time_ms": time,
        "std_step_time_ms": 1.0, "median_step_time_ms": time, "median_step_time_ci_low_ms": time * 0.9,
        "median_step_time_ci_high_ms": time * 1.1, "tokens_per_s": 4 * context / time * 1000,
        "tflops_per_s": 0.1, "peak_memory_mib": 10.0, "device_name": "A CPU",
        "median_forward_time_ms": time / cost,
        "median_backward_time_ms": None if mode == "forward" else time / cost * 2,
        "median_optimizer_time_ms": time / cost * 0.5 if mode == "training_step" else None,
    }  # fmt: skip
    return values | changes


@pytest.fixture
def summary():
    points = itertools.product(["tiny", "nano"], [64, 128], ["forward", "training_step"])
    rows = [row(*point) for point in points]
    failed = {"status": "oom", "median_step_time_ms": None, "run": "x", "sweeps": "s t"}
    return table([*rows, row("tiny", 128, "forward") | failed])


def test_the_comparison_divides_the_same_points(summary):
    compared = modes(summary)
    assert len(compared) == 4
    assert compared["training_step / forward"].tolist() == pytest.approx([3.5] * 4)


def test_runs_that_differ_in_anything_have_rows_of_their_own():
    frame = table([row(seed=0), row(seed=1), row(seed=1, memory_budget_mib=256.0)])
    wide = pivot(frame)
    assert len(wide) == 3
    assert {"seed", "memory_budget_mib"} <= set(wide.columns)
    figure = FIGURES["training_time"](frame)
    names = {entry.get_text() for legend in figure.legends for entry in legend.get_texts()}
    assert names == {"nano seed 0", "nano seed 1", "nano budget 256 MiB, seed 1"}


def test_the_pivot_has_sizes_from_small_to_large(summary):
    wide = pivot(summary)
    assert list(wide.columns) == ["context_length", "mode", "nano", "tiny"]
    assert wide["tiny"].tolist() == pytest.approx((2 * wide["nano"]).tolist())


def test_unfinished_runs_stand_in_the_complete_results_only(summary):
    sizes = {name: len(function(summary)) for name, function in TABLES.items()}
    assert sizes["training"] == 9
    assert sizes["training_by_size"] == sizes["training_by_context_length"] == 8


def test_the_overview_counts_a_shared_run_in_both_sweeps(summary):
    counts = overview(summary).set_index("sweep")
    assert counts.loc["s", ["runs", "ok", "oom"]].tolist() == [9, 8, 1]
    assert counts.loc["t", ["runs", "ok", "oom"]].tolist() == [1, 0, 1]
    assert counts.loc["s", "devices"] == "A CPU"


def test_tables_of_nothing_are_empty_not_an_error():
    nothing = table([row(status="failed", median_step_time_ms=None)])
    for function in TABLES.values():
        markdown(function(nothing))


def test_markdown_escapes_what_would_break_a_table():
    frame = pd.DataFrame({"a|b": ["x|y\nz"], "n": [1]})
    lines = markdown(frame).splitlines()
    assert lines[0] == "| a\\|b   | n |"
    assert lines[2] == "| x\\|y z | 1 |"


def test_html_escapes_and_marks_numbers():
    page = html(pd.DataFrame({"name": ["<script>alert(1)</script>"], "n": [1234567]}), "T & U")
    assert "<script>alert" not in page
    assert "T &amp; U" in page
    assert re.search(r'<td class="number" data-sort="1234567.0">1,234,567</td>', page)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, ""), (float("nan"), ""), (True, "yes"), (3, "3"), (12345, "12,345"), (0.123456, "0.1235"),
     (1234.5, "1,234"), (1.5e-7, "1.500e-07"), (0.0, "0"), ("x", "x")],
)  # fmt: skip
def test_values_are_written_for_people(value, shown):
    assert text(value) == shown


@pytest.mark.parametrize("name", FIGURES)
def test_figures_name_every_series(summary, name, tmp_path):
    use_style()
    figure = FIGURES[name](summary)
    shown = {entry.get_text() for legend in figure.legends for entry in legend.get_texts()}
    if name == "training_breakdown":
        assert shown == {"forward", "backward", "optimiser"}
    else:
        assert shown == {"nano", "tiny"}
    for path in save(figure, tmp_path / name):
        assert (tmp_path / path).stat().st_size > 5000


@pytest.mark.parametrize("name", FIGURES)
def test_figures_of_nothing_say_so(name):
    figure = FIGURES[name](table([row(status="failed", median_step_time_ms=None)]))
    assert "No" in figure.axes[0].texts[0].get_text()


def test_the_same_figure_is_the_same_file(summary, tmp_path):
    use_style()
    for name in ("a", "b"):
        save(FIGURES["training_time"](summary), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
