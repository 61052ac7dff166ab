"""Programs by hand: a run of another kind, `--batch-size` as a number or a file, no program in another."""

import ast
import json

import pytest

from scripts import accuracy, benchmark, benchmark_communication, benchmark_ddp, serve_benchmark
from scripts.lib.batch_size.in_use import size_in_use
from scripts.lib.config import expand, load_config
from scripts.lib.kinds.registry import KINDS
from scripts.lib.kinds.training.result import TrainingResult
from scripts.lib.results.reading import read_result
from scripts.lib.schema.errors import InputError
from tests.conftest import ROOT

PROGRAMS = {
    "training": (benchmark, ["--tokens", "none.npy"]),
    "inference": (serve_benchmark, []),
    "ddp": (benchmark_ddp, ["--text", "none/meta.json"]),
    "accuracy": (accuracy, []),
    "communication": (benchmark_communication, []),
}


@pytest.fixture(scope="module")
def run_files(tmp_path_factory):
    """A run file of each kind, from the default configuration."""
    folder = tmp_path_factory.mktemp("runs")
    files = {}
    for run in expand(load_config()).runs.values():
        path = folder / f"{run.kind}.json"
        path.write_text(run.json)
        files.setdefault(run.kind, path)
    assert files.keys() == PROGRAMS.keys() == KINDS.keys()
    return files


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_of_another_kind_is_one_line(program, kind, run_files, tmp_path, capsys):
    if program == kind:
        return
    module, options = PROGRAMS[program]
    output = tmp_path / "out.json"
    arguments = ["--run", str(run_files[kind]), *options, "--output", str(output)]
    assert module.main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f"{kind}.json: is of kind {kind}, not {program}")
    assert not output.exists()


def test_a_batch_size_by_hand_takes_the_place_of_the_runs(write_run, tokens, tmp_path):
    for batch_size in (2, "auto"):
        output = tmp_path / "benchmark.json"
        run = write_run(batch_size=batch_size, mode="forward")
        options = ["--run", run, "--tokens", tokens, "--batch-size", 3, "--output", output]
        assert benchmark.main(list(map(str, options))) == 0
        result = read_result(output, TrainingResult)
        assert result.settings.batch_size == batch_size
        assert result.effective.batch_size == 3


SEARCH = ROOT / "tests/data/results_0.1.0/runs"


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [("0", "training", "must be at least 1, got 0"), ("-3", "training", "must be at least 1, got -3"),
     ("none.json", "training", "none.json: cannot be read"), (None, "training", "required"),
     ("SEARCH", "ddp", "is of a run of kind training, not ddp")],
)  # fmt: skip
def test_a_batch_size_that_is_none_is_one_line(given, kind, message):
    if given == "SEARCH":
        given = str(next(SEARCH.glob("*/batch_size.json")))
    with pytest.raises(InputError) as caught:
        size_in_use(given, "auto", kind)
    (line,) = str(caught.value).splitlines()
    assert message in line


def test_a_search_gives_its_size_where_the_run_asks_for_it():
    path = next(SEARCH.glob("*/batch_size.json"))
    found = size_in_use(str(path), "auto", "training")
    assert found.size == json.loads(path.read_text())["batch_size"]
    assert size_in_use(str(path), 7, "training").size == 7
    assert size_in_use(None, None, "ddp").size is None


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


def test_no_program_imports_another():
    programs = {f"scripts.{path.stem}" for path in (ROOT / "scripts").glob("*.py")}
    for path in (ROOT / "scripts").rglob("*.py"):
        assert not programs & set(imports_of(path)), path


def test_no_kind_imports_another():
    kinds = ROOT / "scripts/lib/kinds"
    for kind in KINDS:
        others = tuple(f"scripts.lib.kinds.{other}." for other in KINDS if other != kind)
        for path in (kinds / kind).rglob("*.py"):
            wrong = [name for name in imports_of(path) if name.startswith(others)]
            assert not wrong, (path, wrong)
