"""The table and the figure of the searches show what their files hold."""

import json

import pytest

from scripts import find_batch_size, plot_results, tabulate_results
from scripts.lib.batch_size.result import BatchSizeResult
from scripts.lib.config.runs import run_id
from scripts.lib.report.searches.figures import probed_memory
from scripts.lib.report.searches.tables import batch_sizes
from scripts.lib.results.reading import read_result
from tests.conftest import training_run

AUTO = {"batch_size": "auto", "device": "cpu", "num_threads": 1, "memory_budget_mib": 1.5}


@pytest.fixture(scope="module")
def results_dir(tmp_path_factory, tokens):
    """Two searches, one that finds nothing, and a fixed size, as the workflow leaves them."""
    results = tmp_path_factory.mktemp("results")
    runs = []
    for changes in ({}, {"context_length": 32}, {"memory_budget_mib": 0.05}, {"batch_size": 4}):
        settings = training_run(**AUTO | changes).model_dump()
        folder = results / "runs" / run_id(settings)
        folder.mkdir(parents=True)
        runs.append(folder.name)
        (folder / "run.json").write_text(json.dumps({"run": folder.name, "settings": settings}))
        if settings["batch_size"] == "auto":
            names = {"--run": folder / "run.json", "--data": tokens}
            names["--output"] = folder / "batch_size.json"
            arguments = [str(part) for pair in names.items() for part in pair]
            assert find_batch_size.main(arguments) == 0
    batch = results / "batches/a/0.json"
    batch.parent.mkdir(parents=True)
    content = {"sweep": "a", "batch": 0, "kind": "training", "runs": runs}
    batch.write_text(json.dumps(content))
    return results


def read_all(results_dir):
    paths = sorted(results_dir.glob("runs/*/batch_size.json"))
    return [read_result(path, BatchSizeResult) for path in paths]


def test_the_table_has_a_row_of_each_search(results_dir):
    results = read_all(results_dir)
    table = batch_sizes(results).set_index("run")
    for result in results:
        row = table.loc[result.run]
        assert row["probes"] == len(result.probes)
        assert row["ooms"] == sum(probe.outcome == "oom" for probe in result.probes)
        assert row["certified"]
        assert row["margin"] == "10 %"
        assert row["duration_s"] > 0
    assert sorted(table["status"]) == ["ok", "ok", "oom"]


def test_the_figure_has_a_panel_of_each_search(results_dir):
    results = read_all(results_dir)
    figure = probed_memory(results)
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert len(panels) == len(results) == 3
    for axes, result in zip(panels, results, strict=True):
        found = f"largest {result.batch_size}" if result.batch_size else "nothing fits"
        assert found in axes.get_title()
        drawn = {
            name: handle for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        ooms = [probe.batch_size for probe in result.probes if probe.outcome == "oom"]
        assert list(drawn["does not fit"].get_xdata()) == ooms
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert set(names) == {"fitted line", "budget", "fits", "does not fit"}


def test_a_figure_of_nothing_says_so():
    assert "No search" in probed_memory([]).axes[0].texts[0].get_text()


def test_the_programs_write_both_and_passes_over_fixed_sizes(results_dir, tmp_path):
    folder = ["--results-dir", str(results_dir)]
    for program, name, names in (
        (tabulate_results, "tables", ["batch_size"]),
        (plot_results, "figures", ["batch_size_memory"]),
    ):
        options = ["--sweeps", "a:1", "--output-dir", str(tmp_path), f"--{name}", *names]
        assert program.main([*folder, *options]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {
        "batch_size.md", "batch_size.html", "batch_size_memory.svg", "batch_size_memory.png",
    }  # fmt: skip
    assert sum(line.startswith("| ") for line in _lines(tmp_path / "batch_size.md")) == 2 + 3


def _lines(path):
    return path.read_text().splitlines()
