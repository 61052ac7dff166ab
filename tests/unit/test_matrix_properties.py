"""What holds for every sweep matrix, whatever is in the files."""

from itertools import chain, pairwise, permutations

from hypothesis import given
from hypothesis import strategies as st
from matrix_cases import any_entries, any_entry, master, write

from scripts.lib.config import WorkflowConfig, expand
from scripts.lib.kinds.inference.matrix import Filters, Matrix, full_sweep
from scripts.lib.kinds.inference.matrix.blocks import blocks
from scripts.lib.kinds.inference.matrix.concurrency import geometric
from scripts.lib.kinds.inference.matrix.counts import count_rows
from scripts.lib.sweeps.batches import batch_count, batch_slice

ONE_FILTER = st.one_of(
    st.lists(st.sampled_from(["dsr1", "dsr1-fp4", "gptoss"]), min_size=1).map(
        lambda values: Filters(model_prefix=tuple(values))
    ),
    st.sampled_from(["fp4", "fp8"]).map(lambda value: Filters(precision=(value,))),
    st.sampled_from(["vllm", "sglang"]).map(lambda value: Filters(framework=(value,))),
    st.sampled_from(["h100", "b200"]).map(lambda value: Filters(runner_type=(value,))),
    st.lists(st.sampled_from(["1k1k", "1k8k", "8k1k"]), min_size=1).map(
        lambda values: Filters(seq_lens=tuple(values))
    ),
    st.integers(1, 100).map(lambda value: Filters(min_conc=value)),
    st.integers(1, 100).map(lambda value: Filters(max_conc=value)),
    st.integers(1, 8).map(lambda value: Filters(max_tp=value)),
)


def matrix_of(entries):
    return Matrix.of(blocks(master(entries).entries, 2))


def points_of(found):
    return list(chain.from_iterable(block.points() for block in found))


@given(st.integers(1, 1000), st.integers(0, 10_000), st.integers(2, 50))
def test_a_range_starts_at_its_start_grows_by_the_factor_and_ends_at_its_end(start, more, factor):
    values = geometric(start, start + more, factor)
    assert (values[0], values[-1]) == (start, start + more)
    steps = list(pairwise(values))
    assert all(after == before * factor for before, after in steps[:-1])
    assert all(before < after <= before * factor for before, after in steps)


def test_ranges_in_steps_end_at_their_end():
    assert geometric(4, 100, 2) == [4, 8, 16, 32, 64, 100]
    assert geometric(4, 64, 3) == [4, 12, 36, 64]
    assert geometric(64, 64, 2) == [64]


@given(any_entries, st.integers(1, 300))
def test_batches_are_the_whole_in_order(entries, size):
    matrix = matrix_of(entries)
    total = len(matrix)
    batches = [
        matrix.points(batch_slice(index, total, size)) for index in range(batch_count(total, size))
    ]
    assert list(chain.from_iterable(batches)) == matrix.points()
    assert all(len(batch) == size for batch in batches[:-1])
    assert 1 <= len(batches[-1]) <= size


@given(any_entries, st.lists(ONE_FILTER, min_size=2, max_size=3))
def test_filters_commute_and_keep_the_order(entries, filters):
    everything = list(blocks(master(entries).entries, 2))
    results = []
    for order in permutations(filters):
        kept = everything
        for one in order:
            kept = one.apply(kept)
        results.append(points_of(kept))
    assert all(result == results[0] for result in results)
    single_points = [p for p in points_of(everything) if "tp" in p]
    kept_points = iter(single_points)
    assert all(point in kept_points for point in results[0] if "tp" in point)


@given(any_entries, st.sampled_from(["dsr1", "gptoss"]), st.integers(1, 8), st.integers(1, 64))
def test_filters_together_are_filters_one_by_one(entries, prefix, max_tp, min_conc):
    everything = list(blocks(master(entries).entries, 2))
    together = Filters(model_prefix=(prefix,), max_tp=max_tp, min_conc=min_conc)
    alone = [Filters(model_prefix=(prefix,)), Filters(max_tp=max_tp), Filters(min_conc=min_conc)]
    kept = everything
    for one in alone:
        kept = one.apply(kept)
    assert points_of(together.apply(everything)) == points_of(kept)


@given(any_entries)
def test_every_point_stands_once_and_duplicates_are_counted(entries):
    found = list(blocks(master(entries).entries, 2))
    matrix, points = Matrix.of(found), points_of(found)
    unique = []
    for point in points:
        if point not in unique:
            unique.append(point)
    assert matrix.points() == unique
    assert (len(matrix), matrix.duplicates) == (len(unique), len(points) - len(unique))


@given(any_entries)
def test_test_mode_keeps_one_point_per_entry_and_lengths(entries):
    found = full_sweep(master(entries), Filters())
    tested = full_sweep(master(entries), Filters(), test_mode=True)
    keys = [(block.entry, *block.seq_lens) for block in tested]
    assert keys == list(dict.fromkeys((block.entry, *block.seq_lens) for block in found))
    for block, key in zip(tested, keys, strict=True):
        rivals = [b for b in found if (b.entry, *b.seq_lens) == key]
        best = next(b for b in rivals if b.tp == max(rival.tp for rival in rivals))
        assert (block.settings, block.conc) == (best.settings, (min(best.conc),))


@given(any_entries)
def test_counts_are_what_the_filters_give(entries):
    found = full_sweep(master(entries), Filters())
    names = {
        **{"model-prefix": "model_prefix", "precision": "precision", "framework": "framework"},
        **{"runner-type": "runner_type", "seq-lens": "seq_lens"},
    }
    _, whole, *rows = count_rows(found, 7)
    assert whole == ["all", "", str(len(Matrix.of(found))), str(-(-len(Matrix.of(found)) // 7))]
    for name, value, count, batches in rows:
        if name == "seq-lens" and "_" in value:  # lengths without a name have no filter
            continue
        left = Matrix.of(Filters(**{names[name]: (value,)}).apply(found))
        assert (count, batches) == (str(len(left)), str(-(-len(left) // 7)))


@given(any_entries, any_entry, st.integers(0, 6))
def test_ids_are_unique_and_survive_the_insertion_of_an_entry(
    tmp_path_factory, entries, new, position
):
    folder = tmp_path_factory.mktemp("master")
    names = list(entries)
    names.insert(position, "inserted")
    longer = {name: entries.get(name, new) for name in names}
    before, after = (
        expand(
            WorkflowConfig.model_validate(
                {"sweeps": {"s": {"kind": "inference", "config_files": write(folder / name, data)}}}
            )
        )
        for name, data in (("before.yaml", entries), ("after.yaml", longer))
    )
    settings = [run.settings for run in after.runs.values()]
    assert len(set(settings)) == len(settings) == len(matrix_of(longer))
    assert before.runs.items() <= after.runs.items()
    inserted = after.runs.keys() - before.runs.keys()
    assert {run for run in after.sweeps["s"] if run not in inserted} == set(before.sweeps["s"])
