"""A neighbour's line makes a search shorter and changes nothing else."""

import json

import pytest

from scripts import find_batch_size
from scripts.lib.batch_size.neighbours import line_of, nearest_neighbour, read_neighbour
from scripts.lib.batch_size.result import BatchSizeResult
from scripts.lib.config.runs import run_id
from scripts.lib.kinds.accuracy.config import AccuracyRun
from scripts.lib.kinds.ddp.config import DdpRun
from scripts.lib.kinds.registry import KINDS
from scripts.lib.results.reading import read_result
from scripts.lib.runtime.provenance import collect_provenance, now
from scripts.lib.schema.errors import InputError
from tests.conftest import training_run

PROBING = KINDS["training"].probing
SEARCH = {"upper_limit": 64}
AUTO = {"batch_size": "auto", "device": "cpu", "num_threads": 1, "memory_budget_mib": 3.0}


@pytest.fixture
def find(tmp_path, tokens):
    """Find the batch size of a run in the folder of results; returns the result."""

    def find(*options, search=SEARCH, **changes):
        settings = training_run(**AUTO | changes, batch_size_search=search).model_dump()
        folder = tmp_path / "runs" / run_id(settings)
        folder.mkdir(parents=True)
        run, output = folder / "run.json", folder / "batch_size.json"
        run.write_text(json.dumps({"run": folder.name, "settings": settings}))
        arguments = ["--run", run, "--data", tokens, "--output", output, *options]
        assert find_batch_size.main([str(argument) for argument in arguments]) == 0
        return read_result(output, BatchSizeResult)

    return find


def test_the_next_of_a_family_needs_fewer_probes_for_the_same_result(find, tmp_path):
    folder = tmp_path / "runs"
    first = find("--neighbours", folder)
    alone = find(context_length=20)
    (folder / alone.run / "batch_size.json").unlink()
    (folder / alone.run / "run.json").unlink()
    (folder / alone.run).rmdir()
    after = find("--neighbours", folder, context_length=20)
    assert first.neighbour is None
    assert after.neighbour.run == first.run
    for result in (first, alone, after):
        assert result.certified
    assert after.batch_size == alone.batch_size
    assert after.recommended_batch_size == alone.recommended_batch_size
    assert len(after.probes) < len(alone.probes)


def test_only_the_family_counts_and_the_nearest_of_it(find, tmp_path):
    folder = tmp_path / "runs"
    near, far = find(context_length=12), find(context_length=64)
    find(context_length=18, mode="forward")
    find(context_length=17, d_model=32)
    (folder / "pico-broken").mkdir()
    (folder / "pico-broken/batch_size.json").write_text("{")
    run = training_run(**AUTO, context_length=18)
    found = nearest(folder, run)
    assert found.run == near.run
    line = line_of(found)
    assert line.intercept == pytest.approx(near.memory_model.intercept_mib * 2**20)
    assert line.slope == pytest.approx(near.memory_model.slope_mib * 2**20 * 18 / 12)
    assert nearest(folder, run, "rlimit") is None
    wider = training_run(**AUTO, context_length=60)
    assert nearest(folder, wider).run == far.run


def test_a_wrong_neighbour_by_hand_costs_probes_and_nothing_else(find, tmp_path):
    alone = find(context_length=24)
    wrong = tmp_path / "wrong.json"
    data = json.loads(alone.model_dump_json())
    data["memory_model"] = {"intercept_mib": -5.0, "slope_mib": 0.001}
    wrong.write_text(json.dumps(data))
    told = find("--neighbour", wrong, context_length=24, seed=1)
    assert (told.batch_size, told.certified) == (alone.batch_size, True)


DDP = {"model": "pico", "size": {"d_model": 16, "d_ff": 32, "num_layers": 1, "num_heads": 2},
       "max_local_batch": "auto", "vocab": 300}  # fmt: skip
ACCURACY = {"model": "lab/vlm 2", "max_crops": 9, "batch_size": "auto"}


def put(folder, run, slope_mib):
    """The finished search of a run, with a line of memory."""
    settings = run.model_dump()
    result = BatchSizeResult(
        measurement_version=1, run=run_id(settings), kind=run.kind, status="ok", settings=settings,
        batch_size=4, upper_limit=8, strategy="guided", budget_method="budget",
        memory_model={"intercept_mib": 10, "slope_mib": slope_mib},
        provenance=collect_provenance(now(), None, 0),
    )  # fmt: skip
    path = folder / result.run / "batch_size.json"
    path.parent.mkdir()
    path.write_text(result.model_dump_json())
    return result.run


def nearest(folder, run, budget_method="budget"):
    return nearest_neighbour(folder, run, KINDS[run.kind].probing, budget_method)


def test_data_parallel_runs_of_another_length_are_neighbours(tmp_path):
    run = lambda **changes: DdpRun.model_validate(DDP | changes)  # noqa: E731
    put(tmp_path, run(max_length=512), 8)
    near = put(tmp_path, run(max_length=64), 1)
    put(tmp_path, run(max_length=100, precision="bf16_mixed"), 3)
    found = nearest(tmp_path, run(max_length=96, seeds=[7]))
    assert (found.run, found.line.slope_mib) == (near, pytest.approx(1.5))
    assert nearest(tmp_path, run(max_length=96, vocab=301)) is None


def test_accuracy_runs_with_another_knob_are_neighbours(tmp_path):
    run = lambda **changes: AccuracyRun.model_validate(ACCURACY | changes)  # noqa: E731
    reference = put(tmp_path, run(), 5)
    shallow = put(tmp_path, run(num_active_blocks=2), 3)
    put(tmp_path, run(precision="bf16"), 2)
    found = nearest(tmp_path, run(max_crops=4))
    assert (found.run, found.line.slope_mib) == (reference, pytest.approx(2.5))
    found = nearest(tmp_path, run(max_crops=4, num_active_blocks=2))
    assert found.run == shallow
    # How many crops an image has is not known here.
    found = nearest(tmp_path, run(max_crops=None))
    assert (found.run, found.line.slope_mib) == (reference, 5)
    told = run(model="lab/vlm")
    assert nearest(tmp_path, told) is None
    with pytest.raises(InputError, match="is of a run of kind accuracy, not training"):
        read_neighbour(tmp_path / reference / "batch_size.json", training_run(**AUTO), PROBING)


def test_a_neighbour_without_a_line_is_refused(find, tmp_path):
    without = find(search={"upper_limit": 1})
    path = tmp_path / "runs" / without.run / "batch_size.json"
    with pytest.raises(InputError, match="has no rising memory_model"):
        read_neighbour(path, training_run(**AUTO), PROBING)
