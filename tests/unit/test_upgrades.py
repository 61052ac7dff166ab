"""Results that version 0.1.0 wrote are read, under today's names."""

import json
import re
import shutil

import pytest

from scripts.lib.batch_size.result import BatchSizeResult
from scripts.lib.kinds.registry import KINDS
from scripts.lib.results.reading import read_result
from scripts.lib.schema.errors import InputError
from scripts.lib.summary.rows import columns_of, detailed_columns_of, detailed_rows_of, row_of
from tests.conftest import ROOT

FORMER = ROOT / "tests/data/results_0.1.0/runs"


def former_results():
    for path in sorted(FORMER.glob("*/*.json")):
        if path.name not in ("run.json", "batch_size.json"):
            yield path


@pytest.mark.parametrize("path", former_results(), ids=lambda path: path.parent.name)
def test_a_result_of_schema_1_is_read(path):
    former = json.loads(path.read_text())
    result = KINDS[former["kind"]].read_result(path)
    assert (result.schema_version, former["schema_version"]) == (2, 1)
    assert (result.run, result.status) == (former["run"], "ok")
    row = row_of(result, "sweep")
    assert row["run"] == former["run"]
    assert not any(row[name] == "auto" for name in row if not name.startswith("requested_"))
    assert json.loads(path.read_text()) == former, "the file itself stays"


def test_figures_keep_their_values():
    values = {}
    for path in former_results():
        former = json.loads(path.read_text())
        result = KINDS[former["kind"]].read_result(path)
        values[former["kind"]] = former["metrics"], result
    former, training = values["training"]
    assert training.metrics.median_step_time_ms == former["median_time_ms"]
    assert training.metrics.peak_memory_mib == former["peak_memory_allocated_mib"]
    assert training.effective.batch_size == former["batch_size"]
    assert training.effective.device == "cpu"
    former, ddp = values["ddp"]
    assert [mode.mode for mode in ddp.metrics.modes] == ["static", "dynamic", "sorted"]
    for mode in ddp.metrics.modes:
        assert mode.mean_step_time_ms == former[mode.mode]["step_time_mean_ms"]
        assert mode.gain == former[mode.mode]["gain"]
    assert ddp.metrics.fastest_mode == "sorted"
    former, accuracy = values["accuracy"]
    assert accuracy.metrics.p99_decode_time_ms == former["decode"]["p99_ms"]
    assert accuracy.metrics.accuracy_ci_low == former["ci_low"]
    former, inference = values["inference"]
    assert inference.metrics.median_ttft_ms == former["median_ttft_ms"]


def test_a_search_of_schema_1_is_read():
    (path,) = FORMER.glob("*/batch_size.json")
    former = json.loads(path.read_text())
    result = read_result(path, BatchSizeResult)
    assert [p.peak_memory_mib for p in result.probes] == [p["peak_mib"] for p in former["probes"]]
    assert result.duration_s == pytest.approx(sum(p["seconds"] for p in former["probes"]))


@pytest.mark.parametrize(
    ("version", "message"), [(3, "this program reads 1 to 2"), (1, "not a valid")]
)
def test_what_cannot_be_upgraded_is_one_line(version, message, tmp_path):
    path = tmp_path / "benchmark.json"
    path.write_text(json.dumps({"schema_version": version, "kind": "training"}))
    with pytest.raises(InputError) as caught:
        KINDS["training"].read_result(path)
    (line,) = str(caught.value).splitlines()
    assert message in line


def test_a_run_of_several_modes_has_a_row_for_each():
    (path,) = FORMER.glob("*/ddp.json")
    result = KINDS["ddp"].read_result(path)
    rows = detailed_rows_of(result, "s")
    assert [row["mode"] for row in rows] == ["static", "dynamic", "sorted"]
    assert len({row["run"] for row in rows}) == 1
    assert all(list(row) == list(detailed_columns_of("ddp")) for row in rows)
    run = row_of(result, "s")
    assert run["fastest_mode"] == "sorted"
    assert run["fastest_gain"] == rows[2]["gain"]
    assert not any(name.startswith(("static_", "sorted_")) for name in run)


# statistic_quantity_unit; the end of an interval comes after the quantity that it belongs to.
UNIT = r"(ms|us|s|mib|ghz|gb_per_s|us_per_mib|per_s|tokens_per_s|samples_per_s|tflops|tflops_per_s)"
STATISTIC = r"(mean|median|std|p10|p90|p95|p99|p99_9|peak|max|cv|num)"
WRONG = re.compile(
    rf"_(mean|median|std|p\d+|max)_{UNIT}$|_(mean|p50|p\d\d)$|_p50_|^p50_|_seconds$|^parameters$"
    r"|^ci_(low|high)|_mem_|allocated"
)


@pytest.mark.parametrize("kind", KINDS)
def test_columns_follow_one_grammar(kind):
    columns = [*columns_of(kind), *detailed_columns_of(kind)]
    assert not [name for name in columns if WRONG.search(name)]
    times = [name for name in columns if re.search(r"_time_(ms|us)$", name)]
    assert all(re.match(rf"{STATISTIC}_|fastest_", name) for name in times), times
    ends = [name for name in columns if re.search(r"_ci_(low|high)", name)]
    assert all(re.search(rf"._ci_(low|high)(_{UNIT})?$", name) for name in ends)


def test_former_results_are_complete(tmp_path):
    """A damaged metrics object of schema 1 is one line, too."""
    (path,) = FORMER.glob("*/ddp.json")
    copy = tmp_path / "ddp.json"
    shutil.copy(path, copy)
    data = json.loads(copy.read_text())
    del data["metrics"]["static"]
    copy.write_text(json.dumps(data))
    with pytest.raises(InputError, match="not a valid DdpResult of schema version 1"):
        KINDS["ddp"].read_result(copy)
