"""What a user's session has set does not matter."""

import json
import os
import resource
import subprocess
import sys
import time

import pytest
from tokenizers import Tokenizer

from scripts.lib.devices.record import cuda_device
from scripts.lib.devices.slots import visible_gpus
from scripts.lib.kinds.inference.prompts import load_tokenizer, make_prompts
from scripts.lib.runtime.session import many_open_files, short_folder
from scripts.lib.schema.errors import InputError
from tests.workflows import ROOT

STALE_RANK = {
    "RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29517",
}  # fmt: skip
PROGRAM = [sys.executable, "-m"]


def test_figures_are_drawn_whatever_backend_a_notebook_has_set(tmp_path, write_run):
    """The module that `MPLBACKEND` names is the notebook kernel's, not this environment's."""
    run = json.loads(write_run().read_text())
    path = tmp_path / "results/runs" / run["run"] / "run.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(run))
    batch = tmp_path / "results/batches/a/0.json"
    batch.parent.mkdir(parents=True)
    batch.write_text(
        json.dumps({"sweep": "a", "batch": 0, "kind": "training", "runs": [run["run"]]})
    )
    done = subprocess.run(
        [*PROGRAM, "scripts.plot_results", "--results-dir", str(tmp_path / "results"),
         "--output-dir", str(tmp_path), "--figures", "batch_size_memory"],
        cwd=ROOT, env=os.environ | {"MPLBACKEND": "module://matplotlib_inline.backend_inline"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "batch_size_memory.svg").exists()


@pytest.fixture
def long_folder(tmp_path):
    folder = tmp_path / ("x" * 60) / ("y" * 60)
    folder.mkdir(parents=True)
    return folder


def test_a_search_works_under_a_long_temporary_folder(tmp_path, write_run, tokens, long_folder):
    run = write_run(
        batch_size="auto", device="cpu", num_threads=1, memory_budget_mib=2.0,
        batch_size_search={"upper_limit": 4},
    )  # fmt: skip
    output = tmp_path / "batch_size.json"
    done = subprocess.run(
        [*PROGRAM, "scripts.find_batch_size", "--run", str(run), "--data", str(tokens),
         "--output", str(output)],
        cwd=ROOT, env=os.environ | {"TMPDIR": str(long_folder)},
        capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(output.read_text())["status"] == "ok"


def test_only_a_long_temporary_folder_is_replaced(monkeypatch, tmp_path, long_folder):
    monkeypatch.setattr("tempfile.tempdir", "/tmp")
    assert short_folder() is None
    monkeypatch.setattr("tempfile.tempdir", str(long_folder))
    assert len(short_folder()) < 20


@pytest.fixture
def stale(write_run, tokens, tmp_path):
    """Start a search in a shell that still has variables of ranks; returns seconds and stderr."""

    def start(until: str, **changed: str | None) -> tuple[float, str]:
        run = write_run(batch_size="auto", device="cpu", num_threads=1, memory_budget_mib=2.0)
        environment = {
            name: value
            for name, value in (dict(os.environ) | STALE_RANK | changed).items()
            if value is not None
        }
        began = time.monotonic()
        process = subprocess.Popen(
            [*PROGRAM, "scripts.find_batch_size", "--run", str(run), "--data", str(tokens),
             "--output", str(tmp_path / "batch_size.json")],
            cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            for line in process.stderr:
                if until in line:
                    return time.monotonic() - began, line
            pytest.fail(f"no line with {until!r}")
        finally:
            process.kill()
            process.wait()

    return start


@pytest.mark.parametrize(("rank", "other"), [("0", "1"), ("1", "0")])
def test_a_rank_that_never_comes_is_named(stale, rank, other):
    seconds, line = stale("has not arrived", RANK=rank)
    assert f"rank {other} of 2 has not arrived" in line
    assert "unset RANK, WORLD_SIZE" in line
    assert seconds < 40  # 15 s, and the imports


def test_variables_of_ranks_that_say_too_little_are_a_reason(stale):
    _, line = stale("not set", MASTER_PORT=None, RANK=None)
    assert line.startswith("RANK, MASTER_PORT: not set, though WORLD_SIZE is")


SMI = """#!/bin/sh
case "$*" in
*memory.total*) printf '%b' '{memory}';;
*) printf '%b' '{indices}';;
esac
"""


@pytest.fixture
def driver_tool(tmp_path, monkeypatch):
    """Put a tool `nvidia-smi` first that answers with these lines."""

    def answer(memory="", indices="0\\n") -> None:
        path = tmp_path / "nvidia-smi"
        path.write_text(SMI.format(memory=memory, indices=indices))
        path.chmod(0o755)

    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return answer


@pytest.mark.parametrize(
    ("line", "name", "memory", "driver"),
    [
        ("NVIDIA GB10, [N/A], 580.95.05", "NVIDIA GB10", None, "580.95.05"),
        ("NVIDIA H200, 143771, 570.1", "NVIDIA H200", 143771.0, "570.1"),
        ("RTX PRO 6000 Max-Q, Workstation, 97887, 575.57", "RTX PRO 6000 Max-Q, Workstation", 97887.0, "575.57"),
        ("[GPU is lost], [GPU is lost], 550.54.15", "CUDA device", None, "550.54.15"),
        ("No devices were found", "CUDA device", None, None),
    ],
)  # fmt: skip
def test_a_gpu_is_described_as_far_as_the_driver_tells(driver_tool, line, name, memory, driver):
    driver_tool(memory=line + "\\n")
    found = cuda_device()
    assert (found.name, found.memory_mib, found.driver_version) == (name, memory, driver)


@pytest.mark.parametrize(
    ("indices", "gpus"),
    [
        ("0\\n[GPU is lost]\\n2\\n", ["0", "2"]),
        ("0\\n1\\nUnable to determine the device handle for GPU2: 0000:41:00.0: Unknown Error\\n", ["0", "1"]),
        ("No devices were found\\n", []),
    ],
)  # fmt: skip
def test_words_of_an_error_are_no_gpus(driver_tool, indices, gpus):
    driver_tool(indices=indices)
    assert visible_gpus() == gpus


@pytest.mark.parametrize(
    ("variable", "gpus"),
    [
        ("NoDevFiles", []),
        ("-1", []),
        ("", []),
        ("2, 3", ["2", "3"]),
        ("0,-1,1", ["0"]),  # CUDA reads up to the first that is none
        ("GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", ["GPU-8932f937-d72c-4106-c12f-20bd9faed9f6"]),
        ("MIG-GPU-ab12/7/0", ["MIG-GPU-ab12/7/0"]),
    ],
)
def test_visible_devices_are_read_as_cuda_does(monkeypatch, variable, gpus):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    assert visible_gpus() == gpus


def test_a_tokenizer_of_vocabulary_and_merges_is_loaded(tmp_path):
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    words = ["Ġhouse", "Ġtree"]
    pieces, merges = ["Ġ", *letters], []
    for word in words:
        for end in range(1, len(word)):
            if (whole := word[: end + 1]) not in pieces:
                merges.append(f"{word[:end]} {word[end]}")
                pieces.append(whole)
    vocabulary = {piece: number for number, piece in enumerate(["<s>", "</s>", "<unk>", *pieces])}
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "GPT2Tokenizer", **special})
    )
    tokenizer = load_tokenizer(str(tmp_path))
    assert isinstance(tokenizer, Tokenizer)
    assert tokenizer.encode(" house tree").tokens == words
    assert {p.tokens for p in make_prompts(tokenizer, 4, 8, 1.0, seed=0)} == {8}


def test_a_folder_without_a_tokenizer_is_one_line(tmp_path):
    with pytest.raises(InputError, match="cannot be loaded") as caught:
        load_tokenizer(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_load_may_have_as_many_connections_as_the_system_allows():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowered = min(256, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowered, hard))
    try:
        with many_open_files():
            assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == hard
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == lowered
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
