"""The defects of the system that the document describes; none of them may come back."""

import json
import subprocess
import sys

import pytest
from matrix_cases import ROOT, Command, entry, item, lengths, multinode, topology, write

from scripts.lib.kinds.inference.matrix.concurrency import geometric

TIME_LIMIT_S = 20


@pytest.fixture
def command(capsys):
    return Command(capsys)


def in_a_process(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "scripts.generate_sweep_configs", *arguments],
        **{"cwd": ROOT, "capture_output": True, "text": True, "timeout": TIME_LIMIT_S},
    )


@pytest.mark.parametrize("step", ["1", "0", "-2"])
def test_a_step_factor_below_2_is_refused_at_once(tmp_path, step):
    file = write(tmp_path / "m.yaml", {"a": entry()})
    result = in_a_process("full-sweep", "--config-files", file, "--step-size", step)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == (f"argument --step-size: must be a whole number from 2, got '{step}'\n")


@pytest.mark.parametrize("start", [0, -4])
def test_a_start_below_1_is_refused_at_once(tmp_path, start):
    file = write(tmp_path / "m.yaml", {"a": entry(lengths(item(start=start)))})
    result = in_a_process("full-sweep", "--config-files", file)
    assert (result.returncode, result.stdout) == (2, "")
    place = f"{file}:13: a.seq-len-configs.0.search-space.0.conc-start"
    assert result.stderr == f"{place}: must be greater than or equal to 1, got {start}\n"


@pytest.mark.parametrize(("start", "end", "factor"), [(0, 8, 2), (4, 8, 1), (4, 8, 0), (8, 4, 2)])
def test_the_library_refuses_ranges_without_an_end(start, end, factor):
    with pytest.raises(ValueError, match="no geometric range"):
        geometric(start, end, factor)


def test_a_reversed_range_does_not_vanish(tmp_path, command):
    file = write(tmp_path / "m.yaml", {"a": entry(lengths(item(), item(start=64, end=4)))})
    (problem,) = command.problems("full-sweep", "--config-files", file)
    assert "a.seq-len-configs.0.search-space.1.conc-end: " in problem
    assert problem.endswith("must be at least conc-start (64), got 4")


@pytest.mark.parametrize("size", ["0", "-1", "two"])
def test_a_batch_size_below_1_is_refused(tmp_path, command, size):
    file = write(tmp_path / "m.yaml", {"a": entry()})
    (problem,) = command.problems(
        *("full-sweep", "--config-files", file, "--max-batch-size", size, "--get-batch-count")
    )
    assert problem == f"argument --max-batch-size: must be a whole number from 1, got '{size}'"


def test_unknown_keys_are_refused_at_every_level(tmp_path, command):
    wrong = entry(lengths(item(tpp=1)) | {"osll": 3}, imagge="x")
    split = topology([4])
    split["prefill"]["dp_attn"] = True
    file = write(tmp_path / "m.yaml", {"a": wrong, "b": multinode(split)})
    problems = command.problems("full-sweep", "--config-files", file)
    keys = [problem.split(": ")[1] for problem in problems]
    assert sorted(keys) == [
        "a.imagge",
        "a.seq-len-configs.0.osll",
        "a.seq-len-configs.0.search-space.0.tpp",
        "b.seq-len-configs.0.search-space.0.prefill.dp_attn",
    ]
    assert all("unknown key; did you mean" in problem for problem in problems)
    assert 'did you mean "dp-attn"? (allowed: num-worker, tp, ep, dp-attn' in problems[-1]


@pytest.mark.parametrize("value", [True, "4", 4.0, None])
def test_types_are_not_converted(tmp_path, command, value):
    file = write(tmp_path / "m.yaml", {"a": entry(lengths(item(tp=value)))})
    (problem,) = command.problems("full-sweep", "--config-files", file)
    assert "search-space.0.tp: must be a valid integer, got" in problem


@pytest.mark.parametrize("key", ["isl", "osl", "search-space"])
def test_a_missing_sequence_length_is_named(tmp_path, command, key):
    incomplete = lengths()
    del incomplete[key]
    file = write(tmp_path / "m.yaml", {"a": entry(incomplete)})
    for arguments in (["full-sweep"], ["test-config", "--key", "a"]):
        (problem,) = command.problems(*arguments, "--config-files", file)
        assert problem == f"{file}:9: a.seq-len-configs.0.{key}: this key is required"


def test_duplicates_stand_once_and_their_number_is_said(tmp_path, command):
    file = write(
        tmp_path / "m.yaml",
        {
            "a": entry(lengths(item(end=16), item(start=8, end=32))),
            "b": entry(),
            "c": multinode(topology([4, 8])),
            "d": multinode(topology([4, 8])),
        },
    )
    code, out, err = command("full-sweep", "--config-files", file)
    assert code == 0
    assert [point["conc"] for point in json.loads(out)] == [4, 8, 16, 32, [4, 8]]
    # 8 and 16 of the second item, 4, 8 and 16 of the second entry, one topology
    assert err == ["removed 6 duplicates (all settings the same as another entry's)"]


def test_entries_that_differ_in_one_field_are_no_duplicates(tmp_path, command):
    file = write(tmp_path / "m.yaml", {"a": entry(), "b": entry(image="registry/server:2")})
    assert len(command.points("full-sweep", "--config-files", file)) == 6


def test_a_list_of_concurrencies_keeps_its_order(tmp_path, command):
    file = write(tmp_path / "m.yaml", {"a": entry(lengths({"tp": 2, "conc-list": [100, 3, 7]}))})
    for arguments in (["full-sweep"], ["test-config", "--key", "a"]):
        points = command.points(*arguments, "--config-files", file)
        assert [point["conc"] for point in points] == [100, 3, 7]
        (lowest,) = command.points(*arguments, "--config-files", file, "--test-mode")
        assert lowest["conc"] == 3


def test_a_topology_keeps_the_order_in_which_its_server_is_loaded(tmp_path, command):
    file = write(tmp_path / "m.yaml", {"a": multinode(topology([1536, 1024, 512]))})
    points = command.points("full-sweep", "--config-files", file)
    assert [point["conc"] for point in points] == [[1536, 1024, 512]]
    points = command.points("full-sweep", "--config-files", file, "--min-conc", "600")
    assert [point["conc"] for point in points] == [[1536, 1024]]


def test_prefill_workers_may_do_both_unless_they_are_apart(tmp_path, command):
    together = topology([64])
    together["decode"]["num-worker"] = 0
    file = write(tmp_path / "m.yaml", {"a": {**multinode(together), "disagg": False}})
    (point,) = command.points("full-sweep", "--config-files", file)
    assert point["decode"]["num-worker"] == 0
    file = write(tmp_path / "n.yaml", {"a": {**multinode(together), "disagg": True}})
    (problem,) = command.problems("full-sweep", "--config-files", file)
    assert "disagg: true needs decode workers, got num-worker 0" in problem


@pytest.mark.parametrize(
    ("concurrencies", "message"),
    [
        ({"conc-list": [4], "conc-start": 4, "conc-end": 8}, "never beside"),
        ({"conc-list": [4], "conc-end": 8}, "never beside"),
        ({"conc-start": 4}, "conc-start and conc-end are required, or conc-list"),
        ({}, "conc-start and conc-end are required, or conc-list"),
        ({"conc-list": []}, "must not be empty"),
        ({"conc-list": [4, 4]}, "4 stands twice"),
        ({"conc-list": [4, "8"]}, "must be a valid integer, got '8'"),
    ],
)
def test_concurrencies_are_a_range_or_a_list(tmp_path, command, concurrencies, message):
    file = write(tmp_path / "m.yaml", {"a": entry(lengths({"tp": 2, **concurrencies}))})
    (problem,) = command.problems("full-sweep", "--config-files", file)
    assert "a.seq-len-configs.0.search-space.0" in problem
    assert message in problem


def test_a_batch_call_writes_out_its_own_points_only(tmp_path, monkeypatch, command):
    from scripts.lib.kinds.inference.matrix.blocks import Block

    written = []
    points = Block.points
    monkeypatch.setattr(Block, "points", lambda block: written.append(block) or points(block))
    file = write(tmp_path / "m.yaml", {f"e{i}": entry(image=f"i{i}") for i in range(50)})
    arguments = ("full-sweep", "--config-files", file, "--max-batch-size", 3)
    command(*arguments, "--get-batch-count")
    assert written == []
    assert len(command.points(*arguments, "--batch-index", 49)) == 3
    assert len(written) == 1


def test_48000_points_are_counted_as_they_are_written_out(tmp_path):
    from benchmarks.expand import master_lines
    from scripts.lib.kinds.inference.matrix import Filters, Matrix, full_sweep, load_master

    path = tmp_path / "m.yaml"
    path.write_text("\n".join(master_lines(48_000)), encoding="utf-8")
    master = load_master([path])
    matrix = Matrix.of(full_sweep(master, Filters()))
    assert len(matrix) == 48_000
    assert json.dumps(matrix.points()).count('"image"') == 48_000
