"""The table and figures of served models show what the summary holds."""

import pytest

from scripts.lib.kinds.inference.figures import frontier
from scripts.lib.kinds.inference.tables import served
from scripts.lib.kinds.registry import KINDS
from scripts.lib.presentation.render import markdown
from scripts.lib.presentation.style import save, use_style
from scripts.lib.summary.collecting import table

INFERENCE = KINDS["inference"].presentation
FIGURES = {shown.name: INFERENCE.figure(shown) for shown in INFERENCE.figures}


def row(conc=1, framework="vllm", runner="h200", tput=100.0, intvty=50.0, **changes):
    values = {
        "run": f"{framework}-{runner}-{conc}", "sweeps": "s", "kind": "inference", "status": "ok",
        "reason": "", "model": "org/model", "requested_precision": "fp8", "framework": framework,
        "runner": runner, "isl": 1024, "osl": 1024, "tp": 4, "ep": 1, "dp_attn": False,
        "conc": str(conc), "spec_decoding": "none", "median_ttft_ms": 20.0,
        "median_tpot_ms": 1000 / intvty if intvty else None, "intvty": intvty,
        "median_e2el_ms": 1000.0 * conc, "tput_per_gpu": tput,
    }  # fmt: skip
    return values | changes


@pytest.fixture
def summary():
    rows = [
        row(16, tput=900.0, intvty=20.0), row(4, tput=400.0, intvty=40.0), row(1),
        row(8, tput=300.0, intvty=30.0),  # beaten by concurrency 4 on both axes
        row(1, "sglang", "b200", tput=150.0),
        row(2, "trt", "gb200", tput=None, intvty=None, status="unsupported", reason="no GPU"),
    ]  # fmt: skip
    return table(rows)


def test_the_frontier_has_what_nothing_beats():
    xs, ys = [50, 40, 30, 20, 20], [100, 400, 300, 900, 900]
    assert frontier(xs, ys, higher_is_better=True) == [3, 4, 1, 0]
    assert frontier([1, 4, 8, 16], [100, 400, 300, 900], higher_is_better=False) == [0, 1, 3]
    assert frontier([], [], higher_is_better=True) == []


def test_the_table_has_the_columns_of_the_field_and_every_point(summary):
    shown = served(summary)
    wanted = (
        "Model, Hardware, Framework, Precision, ISL, OSL, TP, EP, DP attention, Conc, TTFT (ms), "
        "TPOT (ms), Interactivity (tok/s/user), E2EL (ms), Throughput per GPU (tok/s)"
    )
    assert [name for name in shown if name in wanted.split(", ")] == wanted.split(", ")
    assert len(shown) == 6
    assert shown["Conc"].tolist() == [1, 4, 8, 16, 1, 2]
    assert "no GPU" in markdown(shown)


def test_what_varies_has_a_column(summary):
    assert "Spec decoding" not in served(summary)
    assert "Spec decoding" in served(table([row(1), row(1, spec_decoding="mtp")]))


@pytest.mark.parametrize("name", FIGURES)
def test_hardware_and_frameworks_share_one_plot(summary, name, tmp_path):
    use_style()
    figure = FIGURES[name](summary)
    assert len(figure.axes) == 1
    shown = {entry.get_text() for legend in figure.legends for entry in legend.get_texts()}
    assert shown == {"h200 vllm fp8", "b200 sglang fp8"}
    dimmed = [line for line in figure.axes[0].lines if (line.get_alpha() or 1) < 1]
    assert sum(len(line.get_xdata()) for line in dimmed) == 1
    for path in save(figure, tmp_path / name):
        assert (tmp_path / path).stat().st_size > 5000


@pytest.mark.parametrize("name", FIGURES)
def test_the_measured_device_stands_beside_the_runner(name):
    frame = table([row(1, device_name="NVIDIA H200"), row(2, device_name="NVIDIA L4"), row(4)])
    shown = served(frame)
    assert list(shown.columns[:3]) == ["Model", "Hardware", "Device"]
    assert shown["Device"].tolist()[:2] == ["NVIDIA H200", "NVIDIA L4"]
    (legend,) = FIGURES[name](frame).legends
    assert {" ".join(entry.get_text().split()) for entry in legend.get_texts()} == {
        "h200 (NVIDIA H200) vllm fp8", "h200 (NVIDIA L4) vllm fp8", "h200 vllm fp8",
    }  # fmt: skip


@pytest.mark.parametrize("name", FIGURES)
def test_a_long_name_of_a_device_leaves_room_for_the_panel(name):
    use_style()
    device = "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz"
    figure = FIGURES[name](table([row(1, runner="cpu", device_name=device), row(2, runner="cpu")]))
    figure.draw_without_rendering()
    assert figure.axes[0].get_position().width > 0.4


@pytest.mark.parametrize("name", FIGURES)
def test_points_tell_what_differs_and_names_are_no_formulas(name, tmp_path):
    frame = table([row(1, tp=4, runner=r"$\no$ 1"), row(2, tp=8, runner=r"$\no$ 1")])
    figure = FIGURES[name](frame)
    labels = {text.get_text() for text in figure.axes[0].texts}
    assert {label.split()[-1] for label in labels} == {"tp4", "tp8"}
    assert len(save(figure, tmp_path / name)) == 2


@pytest.mark.parametrize("name", FIGURES)
def test_figures_and_tables_of_nothing_say_so(name):
    missing = {"run": "x", "sweeps": "s", "kind": "inference", "status": "missing", "reason": "?"}
    for frame in (table([row(status="failed", tput=None, intvty=None)]), table([missing])):
        assert "No served model" in FIGURES[name](frame).axes[0].texts[0].get_text()
        markdown(served(frame))
