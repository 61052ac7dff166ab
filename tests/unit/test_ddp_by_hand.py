"""`train_ddp` by hand refuses what it cannot do in one line, and leaves nothing behind."""

import json
from argparse import Namespace

import pytest
import yaml
from ddp_ranks import ddp_run

from scripts import train_ddp
from scripts.lib.batch_size.result import BatchSizeResult
from scripts.lib.config.runs import run_id
from scripts.lib.runtime.processes import is_lost
from scripts.lib.runtime.provenance import collect_provenance, now

STARTED = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
STATIC = ["--mode", "static"]


@pytest.fixture
def started(monkeypatch, tmp_path):
    """The environment of a rank, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    for name, value in STARTED.items():
        monkeypatch.setenv(name, value)


def refusal(capsys, *arguments) -> str:
    assert train_ddp.main(list(map(str, arguments))) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mode", "foo"], "--mode: must be 'static', 'dynamic' or 'sorted', got 'foo'"),
        ([*STATIC, "--seed", -3], "--seed: must be greater than or equal to 0, got -3"),
        ([*STATIC, "--dataset", "csv"], "--data_files: required with path: csv"),
        ([*STATIC, "--global_batch", 33], "--global_batch: 33 is no multiple of ranks 2"),
        ([*STATIC, "--max_tokens", -5], "--max_tokens: must be 1 or more, got -5"),
        ([*STATIC, "--max_local_batch", 1, "--global_batch", 32],
         "--max_local_batch: mode static puts 16 samples on each rank, but memory is for 1"),
        ([*STATIC, "--tokenizer", "./no.txt"], "--tokenizer: ./no.txt: no such file"),
        ([*STATIC, "--model", "./nowhere"], "--model: ./nowhere: no such folder"),
        ([*STATIC, "--run", "{auto}"], "--max_local_batch: auto needs --batch_size FILE"),
        ([*STATIC, "--run", "{auto}", "--batch_size", "{none}"], "--batch_size: {none}: oom: too"),
        ([*STATIC, "--batch_size", "{none}"], "--batch_size: {none}: oom: too"),
        ([*STATIC, "--batch_size", "{none}", "--max_local_batch", 4], "--batch_size: not together"),
        ([*STATIC, "--max_local_batch", "auto"], "--max_local_batch: auto needs --batch_size FILE"),
        ([*STATIC, "--text_column", "x"], "--text_column: has no effect with path: embedded"),
        ([*STATIC, "--steps", 2, "--warmup_steps", 9], "--warmup_steps: 9 leaves none of the 2"),
        ([*STATIC, "--run", "{seeds}"], "--seed: required with --mode, because the run has the seeds 0, 1"),
        ([*STATIC, "--init_method", "foo://"], "--init_method: must begin with env://"),
    ],
)  # fmt: skip
def test_the_option_is_named(arguments, message, started, tmp_path, tmp_path_factory, capsys):
    files = {"auto": tmp_path_factory.mktemp("runs") / "run.json"}
    files["none"] = files["auto"].with_name("batch_size.json")
    run = ddp_run(max_local_batch="auto", modes=["static"])
    settings = run.model_dump()
    files["auto"].write_text(json.dumps({"run": run_id(settings), "settings": settings}))
    files["seeds"] = files["auto"].with_name("seeds.json")
    several = ddp_run(seeds=[0, 1], modes=["static"]).model_dump()
    files["seeds"].write_text(json.dumps({"run": run_id(several), "settings": several}))
    found = BatchSizeResult(
        measurement_version=1, run=run_id(settings), kind="ddp", status="oom", reason="too large",
        settings=settings, batch_size=None, upper_limit=8, strategy="guided",
        provenance=collect_provenance(now(), None, 0),
    )  # fmt: skip
    files["none"].write_text(found.model_dump_json())
    arguments = [str(argument).format(**files) for argument in arguments]
    assert refusal(capsys, *arguments).startswith(message.format(**files))
    assert not list(tmp_path.iterdir())


def test_two_calls_of_one_second_have_folders_of_their_own(tmp_path):
    arguments = Namespace(resume=None, output_dir=tmp_path, run=None, mode="static",
                          check_gradients=False)  # fmt: skip
    folders = {train_ddp._folder(arguments, ddp_run(modes=["static"])) for _ in range(3)}
    assert len(folders) == 3


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"MASTER_ADDR": None}, "start it with torchrun --nproc_per_node=N -m scripts.train_ddp"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE: must be a whole number, got 'two'"),
    ],
)
def test_an_environment_that_is_not_torchruns_is_told(
    variables, message, started, monkeypatch, capsys
):
    for name, value in variables.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    assert message in refusal(capsys, *STATIC)


@pytest.mark.parametrize(
    ("settings", "arguments", "message"),
    [
        ({}, ["--mode", "sorted"], "--mode: is ['sorted'], but ['static'] in "),
        ({}, ["--steps", 99], "--steps: is 99, but 12 in "),
        ({}, ["--dataset", "sst2"], "--dataset: is stanfordnlp/sst2, but embedded in "),
        ({}, ["--max_tokens", 9999], "--max_tokens: is 9999, but None in "),
        ({"modes": ["static", "sorted"]}, [], "--resume: "),
    ],
)
def test_a_run_is_resumed_with_its_own_settings(
    settings, arguments, message, started, tmp_path, capsys
):
    folder = directory(tmp_path, **settings)
    assert refusal(capsys, "--resume", folder, *arguments).startswith(message)


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        ("[../gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:4711", True),
        ("NCCL error: remote process exited or there was a network error", True),
        ("NCCL error: unhandled system error: no space left in /dev/shm", False),
    ],
)
def test_a_rank_that_is_gone_is_told_from_a_fault_of_ones_own(text, lost):
    assert is_lost(RuntimeError(text)) is lost


def test_a_finished_run_is_not_resumed(started, tmp_path, capsys):
    folder = directory(tmp_path)
    (folder / "summary.csv").write_text("mode\n")
    assert "is finished" in refusal(capsys, "--resume", folder)


def directory(folder, **changes):
    """A run directory of mode static that was begun."""
    settings = ddp_run(**({"modes": ["static"]} | changes)).model_dump()
    settings |= {"mode": "static", "seed": 0}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    return folder
