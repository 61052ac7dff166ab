"""A thousand mutated configurations: refused in clear lines before anything runs, or valid."""

import re
from collections import Counter

import pytest
import yaml

from scripts.lib.config import RUN_PATTERN, InputError, expand, load_config
from scripts.lib.workflow.inputs import check_inputs
from tests.conftest import ROOT
from tests.faults.mutations import mutated
from tests.workflows import Workflow

EXAMPLES = [ROOT / "config/config.yaml", *sorted((ROOT / "config/examples").glob("*.yaml"))]
MUTATIONS = 1000


def outcome(path) -> str:
    """`accepted` or `refused`; any other exception is a traceback for the user, and fails."""
    problems, runs = (), ()
    try:
        expansion = expand(load_config([path]))
        check_inputs(expansion)
        runs = expansion.runs
    except InputError as error:
        problems = error.problems or ("",)
    for problem in problems:
        assert problem.strip()
        assert "\n" not in problem
        assert len(problem) < 2000
    for run in runs:
        assert re.fullmatch(RUN_PATTERN, run, re.ASCII)
        assert not run.startswith(("-", "."))
    return "refused" if problems else "accepted"


def test_mutations_are_refused_in_clear_lines_or_valid(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)  # examples name their files from here
    before = set(ROOT.iterdir())
    bases = [yaml.safe_load(path.read_text()) for path in EXAMPLES]
    counts = Counter()
    path = tmp_path / "config.yaml"
    for seed in range(MUTATIONS):
        data = mutated(bases[seed % len(bases)], seed)
        path.write_text(yaml.safe_dump(data, allow_unicode=True, sort_keys=False))
        counts[outcome(path)] += 1
    print(
        f"{MUTATIONS} mutations of {len(bases)} configurations: {dict(counts)}, traceback 0, files 0"
    )
    assert counts["refused"] > 0.5 * MUTATIONS
    assert counts["accepted"] > 0.02 * MUTATIONS
    assert set(ROOT.iterdir()) == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_workflow_refuses_what_the_loader_refuses(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    base, path = yaml.safe_load(EXAMPLES[0].read_text()), tmp_path / "config.yaml"
    called = 0
    for seed in range(MUTATIONS):
        data = mutated(base, seed)
        path.write_text(yaml.safe_dump(data, allow_unicode=True, sort_keys=False))
        if outcome(path) == "accepted":
            continue
        told = Workflow(tmp_path, data).call()
        assert told.returncode != 0
        assert "Traceback" not in told.stderr
        assert str(path) in told.stderr
        assert {p.name for p in tmp_path.iterdir()} <= {path.name, ".snakemake"}
        called += 1
        if called == 4:
            break
    assert called == 4


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_what_the_loader_accepts_is_planned(example, tmp_path):
    text = example.read_text().replace("config/examples/", f"{ROOT}/config/examples/")
    base, path = yaml.safe_load(text), tmp_path / "config.yaml"
    for seed in range(MUTATIONS):
        data = mutated(base, seed)
        path.write_text(yaml.safe_dump(data, allow_unicode=True, sort_keys=False))
        if data != base and outcome(path) == "accepted":
            break
    Workflow(tmp_path, data).planned()  # fails unless Snakemake ends well
