"""Sweeps of kind `inference` in the configuration."""

import hashlib
import json
import re
from functools import partial
from itertools import chain

import pytest
import yaml
from matrix_cases import ROOT, Command, entry, item, lengths, multinode, topology, write

from scripts.lib.config import RUN_PATTERN, InputError, expand, load_config, load_run, run_id
from scripts.lib.kinds.inference import frameworks
from scripts.lib.kinds.inference.config import server_settings


@pytest.fixture
def config(tmp_path):
    def load(**sweeps):
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump({"sweeps": sweeps}, sort_keys=False), encoding="utf-8")
        return load_config([path])

    return load


def serving(*files, **fields):
    return {"kind": "inference", "config_files": list(files), **fields}


def settings_of(expansion, sweep):
    return [json.loads(expansion.runs[run].settings) for run in expansion.sweeps[sweep]]


def hyphened(value):
    """Settings as the command prints them, without what only the workflow adds."""
    if not isinstance(value, dict):
        return value
    own = ("kind", "load", "server")
    return {
        key.replace("_", "-"): hyphened(inner) for key, inner in value.items() if key not in own
    }


def test_a_sweep_has_the_points_of_the_command_in_their_order(config, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)  # the paths of the example are relative to the working directory
    expansion = expand(load_config(["config/examples/inference-hub.yaml"]))
    folder = "config/examples/inference"
    points = Command(capsys).points(
        *("full-sweep", "--config-files", f"{folder}/nvidia.yaml", f"{folder}/amd.yaml"),
        *("--runner-config", f"{folder}/runners.yaml", "--seq-lens", "1k1k"),
        *("--runner-type", "h200", "b200", "mi300x", "mi355x"),
    )
    assert [hyphened(settings) for settings in settings_of(expansion, "serving")] == points
    assert list(chain.from_iterable(expansion.batches("serving"))) == expansion.sweeps["serving"]
    assert max(map(len, expansion.batches("serving"))) == 16


def test_every_filter_of_a_sweep_is_the_commands(config, tmp_path, capsys):
    file = write(
        tmp_path / "m.yaml",
        {
            "dsr1-a": entry(lengths(item(tp=4, end=90), item(tp=8)), lengths(isl=8192)),
            "dsr1-b": entry(precision="fp4"),
            "gptoss": entry(framework="sglang", runner="b200"),
        },
    )
    runners = tmp_path / "runners.yaml"
    runners.write_text("h100: [n0]\nb200: [n1]\n", encoding="utf-8")
    filters = {
        **{"seq_lens": "1k1k", "model_prefix": "dsr1", "framework": ["vllm", "sglang"]},
        **{"precision": "fp8", "runner_type": "h100", "step_size": 3},
        **{"min_conc": 5, "max_conc": 80, "max_tp": 4},
    }
    sweep = serving(file, runner_config=str(runners), **filters)
    options = [
        str(word)
        for name, value in {**filters, "runner_config": runners}.items()
        for word in [
            f"--{name.replace('_', '-')}",
            *(value if isinstance(value, list) else [value]),
        ]
    ]
    points = Command(capsys).points("full-sweep", "--config-files", file, *options)
    assert [point["conc"] for point in points] == [12, 36]
    assert [hyphened(s) for s in settings_of(expand(config(s=sweep)), "s")] == points
    tested = expand(config(s=serving(file, test_mode=True)))
    assert [s["tp"] for s in settings_of(tested, "s")] == [8, 4, 4, 4]


def test_a_server_that_runs_already_is_asked_as_its_framework_wants(config, tmp_path):
    frameworks = ("vllm", "transformers", "other")
    file = write(tmp_path / "m.yaml", {name: entry(framework=name) for name in frameworks})
    expansion = expand(config(s=serving(file, server={"base_url": "http://127.0.0.1:8000"})))
    told = {s["framework"]: s["server"].get("request") for s in settings_of(expansion, "s")}
    assert told == {"vllm": {"ignore_eos": True}, "transformers": None, "other": None}


def test_runs_have_readable_ids_and_files_that_programs_can_read(config, tmp_path):
    file = write(
        tmp_path / "m.yaml",
        {
            "a": entry(lengths(item(ep=4, **{"dp-attn": True, "spec-decoding": "mtp"}))),
            "b": multinode(topology([4, 8])),
            "c": entry(**{"model-prefix": "../-x y/" + "z" * 200}),
        },
    )
    expansion = expand(config(s=serving(file)))
    names = [run.rsplit("-", 1)[0] for run in expansion.sweeps["s"]]
    assert names[0] == "model_1k1k-fp8-vllm-h100-tp4-ep4-dpa-mtp-conc4"
    assert names[3] == "model_1k1k-fp8-vllm-h100-prefill2-tp4-decode1-tp8-conc4_8"
    path = tmp_path / "run.json"
    for run in expansion.runs.values():
        assert re.fullmatch(RUN_PATTERN, run.id)
        assert run.id[0].isalnum() or run.id[0] == "_"
        assert len(run.id) < 140
        path.write_text(run.json, encoding="utf-8")
        known, settings = load_run(path)
        assert known == run.id
        written = json.loads(run.settings)
        shown = settings.model_dump(exclude_none=True)
        assert shown == {**shown, **written, "server": {"unsupported": "", **written["server"]}}


def test_a_run_that_is_neither_on_one_node_nor_on_several_is_refused(config, tmp_path):
    file = write(tmp_path / "m.yaml", {"a": entry(lengths(item(end=4)))})
    (run,) = expand(config(s=serving(file))).runs.values()
    settings = json.loads(run.settings) | {"conc": [4]}
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"run": run.id, "settings": settings}), encoding="utf-8")
    with pytest.raises(InputError, match="must have tp, ep, dp_attn and one conc, or prefill"):
        load_run(path)


def test_a_model_that_looks_like_an_option_is_refused_with_its_entry(config, tmp_path):
    sweep = {"kind": "inference", "entries": {"a": entry(model="--port=1")}}
    with pytest.raises(InputError, match=r"^sweeps\.s\.entries\.a: model: must not begin with '-'"):
        expand(config(s=sweep))


def test_a_server_depends_on_all_settings_but_the_load(config, tmp_path):
    one = {"kind": "inference", "entries": {"a": entry(lengths(item(), item(tp=8)))}}
    expansion = expand(
        config(
            a=one, b=one | {"load": {"request_rate": 2.0}}, c=one | {"server": {"device": "cuda"}}
        )
    )
    servers = [
        {run_id(server_settings(settings)) for settings in settings_of(expansion, name)}
        for name in "abc"
    ]
    assert [len(found) for found in servers] == [2, 2, 2]
    assert servers[0] == servers[1]
    assert not servers[0] & servers[2]
    assert len(expansion.runs) == 3 * len(expansion.sweeps["a"])


def test_a_launch_that_names_the_concurrency_is_a_server_for_each(config, tmp_path, monkeypatch):
    known = frameworks.load_frameworks()
    vllm = known["vllm"].model_copy(
        update={"command": [*known["vllm"].command, "--max-num-seqs", "{conc}"]}
    )
    sweep = serving(write(tmp_path / "m.yaml", {"a": entry(lengths(item(end=8)))}))
    for changed, servers in ((known["vllm"], 1), (vllm, 2)):
        frameworks.depends_on_concurrency.cache_clear()
        monkeypatch.setattr(frameworks, "load_frameworks", partial(dict, known, vllm=changed))
        points = settings_of(expand(config(s=sweep)), "s")
        assert [point["conc"] for point in points] == [4, 8]
        assert len({run_id(server_settings(point)) for point in points}) == servers
    assert [point["server"]["launch"]["command"][-1] for point in points] == ["4", "8"]
    frameworks.depends_on_concurrency.cache_clear()


def test_kinds_share_one_list_of_runs(config, tmp_path):
    file = write(tmp_path / "m.yaml", {"a": entry()})
    training = {"kind": "training", "size": "nano", "context_length": 64}
    expansion = expand(config(steps=training, served=serving(file), again=serving(file)))
    assert [run.kind for run in expansion.runs.values()] == ["training"] + 3 * ["inference"]
    assert expansion.sweeps["served"] == expansion.sweeps["again"]


def test_duplicates_are_removed_once_and_noted(config, tmp_path):
    file = write(tmp_path / "m.yaml", {"a": entry(), "b": entry()})
    expansion = expand(config(s=serving(file)))
    assert len(expansion.sweeps["s"]) == 3
    assert expansion.notes == ("sweeps.s: removed 3 exact duplicates",)


def test_different_runs_with_one_id_are_refused(config, tmp_path, monkeypatch):
    class Constant:
        def hexdigest(self):
            return "0" * 64

    monkeypatch.setattr(hashlib, "sha256", lambda text: Constant())
    file = write(tmp_path / "m.yaml", {"a": entry(), "b": entry(image="registry/server:2")})
    with pytest.raises(InputError, match="two different runs have the id model_1k1k-fp8"):
        expand(config(s=serving(file)))


def test_problems_of_all_master_files_have_their_own_lines(config, tmp_path):
    first = write(tmp_path / "1.yaml", {"a": entry(lengths(item(tp=True)))})
    second = write(tmp_path / "2.yaml", {"b": entry(precision=4)})
    good = write(tmp_path / "3.yaml", {"c": entry()})
    with pytest.raises(InputError) as caught:
        expand(
            config(
                s=serving(first),
                t=serving(second, first),
                u=serving(good, precision=["fp4", "fp6"]),
            )
        )
    assert list(caught.value.problems) == [
        f"{first}:12: a.seq-len-configs.0.search-space.0.tp: must be a valid integer, got True",
        f"{second}:5: b.precision: must be a valid string, got 4",
        f"sweeps.u: nothing is left by: config_files ['{good}'], precision ['fp4', 'fp6']",
    ]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"runner_type": "h100"}, "sweeps.s.runner_type: needs runner_config"),
        ({"step_size": 1}, "sweeps.s.step_size: must be greater than or equal to 2, got 1"),
        ({"seq_lens": "2k"}, "sweeps.s.seq_lens: must be '1k1k', '1k8k' or '8k1k', got '2k'"),
        ({"min_conc": 0}, "sweeps.s.min_conc: must be greater than or equal to 1, got 0"),
        ({"test_mode": "yes"}, "sweeps.s.test_mode: must be a valid boolean, got 'yes'"),
        ({"size": "nano"}, "sweeps.s.size: unknown key"),
        ({"config_files": []}, "sweeps.s.config_files: must not be empty"),
        ({"entries": {"a": entry()}}, "sweeps.s: needs config_files, or entries in their place"),
        (
            {"config_files": None, "entries": {"a": entry(tp=4)}},
            "sweeps.s.entries.a.tp: unknown key",
        ),
        (
            {"server": {"base_url": "host:80"}},
            "sweeps.s.server.base_url: must be an address such as",
        ),
        (
            {"server": {"base_url": "http://127.0.0.1:99999"}},
            "sweeps.s.server.base_url: must be an address such as",
        ),
        (
            {"server": {"base_url": "http://user:secret@127.0.0.1:80"}},
            "sweeps.s.server.base_url: must hold no user, password or query",
        ),
        (
            {"server": {"base_url": "http://127.0.0.1/v1?api_key=secret"}},
            "sweeps.s.server.base_url: must hold no user, password or query",
        ),
        (
            {"server": {"base_url": "http://127.0.0.1", "container": "apptainer"}},
            "container is of servers that are started",
        ),
        (
            {"server": {"container": "enroot"}},
            "sweeps.s.server.container: must be 'apptainer', got 'enroot'",
        ),
        (
            {"load": {"random_range_ratio": 1.5}},
            "sweeps.s.load.random_range_ratio: must be less than or equal to 1",
        ),
        ({"load": {"request_rate": 0}}, "sweeps.s.load.request_rate: must be greater than 0"),
        ({"kind": "inferense"}, "sweeps.s: kind must be one of training, inference"),
    ],
)
def test_a_wrong_sweep_is_refused_with_its_line(config, tmp_path, fields, problem):
    with pytest.raises(InputError) as caught:
        config(s={**serving("m.yaml"), **fields})
    (line,) = caught.value.problems
    assert line.startswith(f"{tmp_path}/config.yaml:")
    assert problem in line
