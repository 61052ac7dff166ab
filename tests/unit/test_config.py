"""What a user writes is expanded, or refused with one clear line a problem."""

import itertools
import json
import subprocess
import sys

import jsonschema
import pytest
import yaml

from scripts.lib.config import InputError, expand, load_config, load_run
from scripts.lib.config.runs import RUN_PATTERN
from tests.conftest import ROOT

BASE = {"kind": "training", "size": "nano", "context_length": [16, 32], "batch_size": 2}


def load(tmp_path, data, name="config.yaml"):
    path = tmp_path / name
    path.write_text(data if isinstance(data, str) else yaml.safe_dump(data, sort_keys=False))
    return load_config([path])


def ids(tmp_path, **sweeps):
    return expand(load(tmp_path, {"sweeps": sweeps}))


def test_the_parse_time_import_is_light():
    code = (
        "import scripts.lib.config, scripts.lib.report.registry, scripts.lib.workflow.inputs, sys; "
        "assert not {'torch', 'transformers', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize(
    "path", [ROOT / "config/config.yaml", *sorted((ROOT / "config/examples").glob("*.yaml"))]
)
def test_shipped_configurations_are_valid(path):
    assert expand(load_config([path])).runs
    schema = json.loads((ROOT / "config/schema.json").read_text())
    jsonschema.validate(yaml.safe_load(path.read_text()), schema)


def test_h200_example_covers_its_sizes_and_contexts():
    runs = expand(load_config([ROOT / "config/examples/h200.yaml"])).runs.values()
    settings = [json.loads(run.settings) for run in runs]
    assert {s["model_size"] for s in settings} == {"small", "medium", "large", "xl", "2.7B"}
    assert {s["context_length"] for s in settings} == {128, 256, 512, 1024, 2048}


def test_a_sweep_is_the_product_of_its_axes(tmp_path):
    sweep = BASE | {"mode": ["forward", "training_step"], "compile": [False, True]}
    assert len(ids(tmp_path, a=sweep).runs) == 2 * 2 * 2


def test_exclude_takes_out_and_include_adds(tmp_path):
    sweep = BASE | {
        "size": ["nano", "tiny"],
        "exclude": [{"size": "tiny", "context_length": 32}],
        "include": [{"size": "mini"}, {"size": "nano", "context_length": 64, "batch_size": 1}],
    }
    runs = ids(tmp_path, a=sweep).runs.values()
    found = {
        (s["model_size"], s["context_length"], s["batch_size"])
        for s in (json.loads(run.settings) for run in runs)
    }
    assert found == {
        ("nano", 16, 2), ("nano", 32, 2), ("tiny", 16, 2),
        ("mini", 16, 2), ("mini", 32, 2), ("nano", 64, 1),
    }  # fmt: skip


def test_sweeps_that_name_the_same_run_share_it(tmp_path):
    both = ids(tmp_path, a=BASE, b=BASE | {"context_length": [32, 64]})
    assert len(both.runs) == 3
    assert set(both.sweeps["a"]) & set(both.sweeps["b"])


def test_a_runs_id_depends_on_its_own_settings_only(tmp_path):
    alone = ids(tmp_path, b=BASE).sweeps["b"]
    grown = ids(tmp_path, a=BASE | {"size": "tiny"}, renamed=BASE | {"context_length": [8, 16, 32]})
    assert set(alone) < set(grown.sweeps["renamed"])
    described = ids(tmp_path, b=BASE | {"description": "changes nothing"})
    assert described.sweeps["b"] == alone


def test_a_changed_size_changes_its_own_runs(tmp_path):
    config = {"sweeps": {"a": BASE | {"size": ["nano", "tiny"]}}}
    before = expand(load(tmp_path, config)).sweeps["a"]
    sizes = {"nano": {"d_model": 32, "d_ff": 64, "num_layers": 1, "num_heads": 2}}
    after = expand(load(tmp_path, config | {"sizes": sizes})).sweeps["a"]
    assert {run.split("-")[0] for run in set(after) - set(before)} == {"nano"}
    assert len(set(after) & set(before)) == 2


def test_run_ids_match_the_wildcard_and_are_file_names(tmp_path):
    import re

    for run in expand(load_config([ROOT / "config/examples/training.yaml"])).runs:
        assert re.fullmatch(RUN_PATTERN, run)
        assert "/" not in run


def test_ten_thousand_runs_expand(tmp_path):
    sweep = BASE | {"size": ["nano", "tiny"], "context_length": list(range(2, 5002))}
    config = load(tmp_path, {"sweeps": {"a": sweep}})
    assert len(expand(config).runs) == 10_000


def test_batches_cut_a_sweep_without_loss(tmp_path):
    config = {"sweeps": {"a": BASE | {"context_length": list(range(2, 25))}}, "max_batch_size": 5}
    expansion = expand(load(tmp_path, config))
    batches = expansion.batches("a")
    assert [len(batch) for batch in batches] == [5, 5, 5, 5, 3]
    assert list(itertools.chain(*batches)) == expansion.sweeps["a"]


def test_files_and_overrides_merge_key_by_key(tmp_path):
    (tmp_path / "a.yaml").write_text(yaml.safe_dump({"sweeps": {"a": BASE}, "max_batch_size": 7}))
    (tmp_path / "b.yaml").write_text("sweeps: {a: {batch_size: 3}}")
    paths = [tmp_path / "a.yaml", tmp_path / "b.yaml"]
    config = load_config(paths, ['sweeps={"a": {"num_trials": 9}}'])
    assert config.sweeps["a"].batch_size == [3]
    assert config.sweeps["a"].num_trials == 9
    assert config.max_batch_size == 7


SWEEP = "sweeps: {a: {kind: training, size: nano, context_length: 16, %s}}"
BAD = {
    "unknown key": (SWEEP % "num_trails: 3", 'sweeps.a.num_trails: unknown key; did you mean "num_trials"?'),
    "unknown top key": ("sweep: {}", 'sweep: unknown key; did you mean "sweeps"?'),
    "wrong type": (SWEEP % 'num_trials: "3"', "sweeps.a.num_trials: must be a valid integer, got '3'"),
    "truth value for a number": (SWEEP % "num_trials: true", "must be a valid integer, got True"),
    "unknown size": ("sweeps: {a: {kind: training, size: nono, context_length: 16}}", "unknown size 'nono'; allowed: nano, tiny"),
    "unknown size in include": (SWEEP % "include: [{size: nono}]", "sweeps.a.include.0.size: unknown size 'nono'"),
    "empty list": ("sweeps: {a: {kind: training, size: [], context_length: 16}}", "sweeps.a.size: must not be empty"),
    "no sweeps": ("sweeps: {}", "sweeps: must not be empty"),
    "negative number": (SWEEP % "num_warmups: -1", "sweeps.a.num_warmups: must be greater than or equal to 1, got -1"),
    "negative on an axis": (SWEEP % "batch_size: [2, -4]", "sweeps.a.batch_size.1"),
    "unknown value": (SWEEP % "mode: fwd", "must be 'forward', 'forward_backward' or 'training_step', got 'fwd'"),
    "repeated value": (SWEEP % "batch_size: [2, 2]", "2 stands twice"),
    "missing key": ("sweeps: {a: {kind: training, size: nano}}", "sweeps.a.context_length: this key is required"),
    "unknown kind": ("sweeps: {a: {kind: trainin, size: nano, context_length: 16}}", "sweeps.a"),
    "missing kind": ("sweeps: {a: {size: nano, context_length: 16}}", "kind"),
    "duplicate sweep": ("sweeps:\n  a: {kind: training}\n  a: {kind: training}", ":3: sweeps.a: this key stands twice"),
    "path as a name": ('sweeps: {"../a": {kind: training, size: nano, context_length: 16}}', "'../a' is no name"),
    "shell in a name": ('sizes: {"a;b": {d_model: 4, d_ff: 4, num_layers: 1, num_heads: 1}}\n' + SWEEP % "", "'a;b' is no name"),
    "not a mapping": ("- a\n- b", "must be a mapping (key: value), but is a sequence"),
    "empty file": ("", "is empty"),
    "broken YAML": ("sweeps: {a: [", "not valid YAML"),
    "python object": ("sweeps: !!python/object/apply:os.system [ls]", "not valid YAML"),
    "heads do not divide": ("sizes: {s: {d_model: 10, d_ff: 4, num_layers: 1, num_heads: 4}}\n" + SWEEP % "", "sizes.s: d_model 10 must be a multiple"),
    "exclude without effect": (SWEEP % "exclude: [{size: tiny}]", "exclude[0] excludes nothing"),
    "exclude of everything": (SWEEP % "exclude: [{size: nano}]", "exclude leaves no run"),
    "unknown axis in exclude": (SWEEP % "exclude: [{num_trials: 3}]", "sweeps.a.exclude.0.num_trials: unknown key"),
    "an infinite budget": (SWEEP % "memory_budget_mib: .inf", "sweeps.a.memory_budget_mib: must be a finite number"),
    "braces in a path": (SWEEP % 'data_path: "{x}.npy"', "must be a path without braces"),
    "a context beyond the embedded text": ("sweeps: {a: {kind: training, size: nano, context_length: 1000000}}", "sweeps.a.context_length: 1000000 needs a data_path"),
    "neither word nor number": (SWEEP % 'batch_size: "4"', "must be 'auto', or must be a valid integer, got '4'"),
    "batches": (SWEEP % "" + "\nbatches: 1-x", "batches: must be numbers and ranges such as 0-2 or 1,4-6, or must be a valid integer, got '1-x'"),
    "nothing where a mapping belongs": ("sweeps: {a: }", "sweeps.a"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_configurations_are_told_in_one_line(tmp_path, case):
    text, expected = BAD[case]
    with pytest.raises(InputError) as told:
        load(tmp_path, text)
    lines = [line for line in told.value.problems if expected in line]
    assert lines, told.value.problems
    assert lines[0].startswith(f"{tmp_path}/config.yaml:")
    assert "\n" not in lines[0]


def test_all_problems_are_told_together_with_their_lines(tmp_path):
    text = "sweeps:\n  a:\n    kind: training\n    size: nano\n    context_length: 0\n    seed: x\n"
    with pytest.raises(InputError) as told:
        load(tmp_path, text)
    places = [line.split(": ")[0].rsplit(":", 1)[-1] for line in told.value.problems]
    assert places == ["6", "5"] or places == ["5", "6"]


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(InputError, match="cannot be read: No such file"):
        load_config([tmp_path / "no.yaml"])


def test_an_override_is_named_as_the_place(tmp_path):
    (tmp_path / "a.yaml").write_text(yaml.safe_dump({"sweeps": {"a": BASE}}))
    with pytest.raises(InputError, match=r"--config: sweeps\.a\.num_trials"):
        load_config([tmp_path / "a.yaml"], ['sweeps={"a": {"num_trials": -1}}'])
    with pytest.raises(InputError, match="--config: sweeps: must be"):
        load_config([tmp_path / "a.yaml"], ["sweeps=3"])


@pytest.mark.parametrize("text", ["", "{}", "[]", "{"])
def test_run_files_that_are_none_are_refused(tmp_path, text):
    path = tmp_path / "run.json"
    path.write_text(text)
    with pytest.raises(InputError, match="not a run file"):
        load_run(path)


def test_run_files_of_an_unknown_kind_are_refused(tmp_path):
    path = tmp_path / "run.json"
    path.write_text('{"run": "a", "settings": {"kind": "x"}}')
    with pytest.raises(InputError, match="is of kind x, not training, inference, ddp"):
        load_run(path)


def test_a_run_file_round_trips(tmp_path):
    run = next(iter(ids(tmp_path, a=BASE).runs.values()))
    path = tmp_path / "run.json"
    path.write_text(run.json)
    name, settings = load_run(path)
    assert name == run.id
    assert settings.model_dump() == json.loads(run.settings)


def test_a_call_can_be_restricted_to_batches(tmp_path):
    config = {"sweeps": {"a": BASE | {"context_length": list(range(2, 25))}, "b": BASE}}
    config |= {"max_batch_size": 5, "batches": "1-2,4,9"}
    expansion = expand(load(tmp_path, config))
    assert expansion.selected_batches("a") == [1, 2, 4]
    assert expansion.selected_batches("b") == []
    with pytest.raises(InputError, match="no sweep has the batches 7, only 0 to 4"):
        expand(load(tmp_path, config | {"batches": 7}))
    for bad in ("x", "1-", "-1", "", [1], -1, True):
        with pytest.raises(InputError, match="batches"):
            load(tmp_path, config | {"batches": bad})


def test_a_value_of_a_filter_that_matches_nothing_is_noted(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    sweep = {"kind": "inference", "config_files": "config/examples/inference/nvidia.yaml"}
    notes = ids(tmp_path, a=sweep | {"framework": ["vllm", "vlm"]}).notes
    assert notes == ("sweeps.a: --framework vlm matches no entry",)
