"""The table and the figure of the searches show what their files hold."""

import json

import pytest
from scripts.lib.batch_size.figures import probed_memory
from scripts.lib.batch_size.tables import batch_sizes

from scripts import find_batch_size, present_batch_sizes
from scripts.lib.batch_size.result import BatchSizeResult
from scripts.lib.config.runs import run_id
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
            names = {"--run": folder / "run.json", "--tokens": tokens}
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
        assert row["seconds"] > 0
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


def test_the_program_writes_both_and_passes_over_fixed_sizes(results_dir, tmp_path, capsys):
    arguments = ["--results-dir", str(results_dir), "--sweeps", "a:1"]
    assert present_batch_sizes.main([*arguments, "--output-dir", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"searches": 3}
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")}
    assert written == {
        f"{folder}/batch_size.{suffix}"
        for folder, suffixes in {"tables": ("md", "html"), "figures": ("svg", "png")}.items()
        for suffix in suffixes
    }
