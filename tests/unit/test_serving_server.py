"""The life of servers: every way it can go ends in a row with its reason, and no process is left."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing

import psutil
import pyarrow.parquet as pq
import pytest

from scripts import prepare_model, serve_benchmark
from scripts.lib.kinds.inference.frameworks import Launch
from scripts.lib.kinds.inference.points import measure_points, prompt_seed
from scripts.lib.kinds.inference.prompts import load_tokenizer, make_prompts
from scripts.lib.kinds.inference.server import (
    ServerError,
    end_leftovers,
    missing_program,
    reserve_port,
    serve,
)
from scripts.lib.runtime import provenance
from tests.conftest import ROOT
from tests.unit.serving_cases import (
    launch_of,
    scripted_server,
    served_processes,
    served_run,
    write_run,
)


@pytest.fixture(scope="session")
def embedded_model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "embedded"
    assert prepare_model.main(["--output", str(folder)]) == 0
    return folder


@pytest.fixture(autouse=True)
def _no_process_is_left():
    yield
    assert served_processes() == []


@pytest.fixture
def measure(tmp_path, embedded_model):
    """Measure a run on the scripted server; returns the result."""

    def call(*options, **changes):
        path = write_run(tmp_path, served_run(*options, **changes))
        output = tmp_path / "out" / "inference.json"
        arguments = ["--run", path, "--embedded-model", embedded_model, "--output", output]
        assert serve_benchmark.main([str(argument) for argument in arguments]) == 0
        return json.loads(output.read_text())

    return call


def test_a_point_has_its_figures_and_its_requests(measure, tmp_path):
    result = measure("--ttft", "0.02", "--itl", "0.005", conc=4)
    metrics = result["metrics"]
    assert result["status"] == "ok", result["reason"]
    assert (metrics["num_prompts"], metrics["num_failed"], metrics["num_wrong_length"]) == (
        40,
        0,
        0,
    )
    assert metrics["output_tokens"] == 40 * 8
    assert 20 <= metrics["median_ttft_ms"] <= metrics["p99_ttft_ms"] <= metrics["p99_9_ttft_ms"]
    requests = pq.read_table(tmp_path / "out/requests.parquet").to_pandas()
    assert len(requests) == 40
    assert requests["prompt_tokens"].between(13, 16).all()
    assert (requests["prompt_tokens"] == requests["usage_prompt_tokens"]).all()
    assert all(len(chunks) == 8 for chunks in requests["chunks_ms"])
    assert result["boot"]["server_boots"] == 1
    assert result["boot"]["server_start_time_s"] > 0


def test_prompts_are_the_same_for_a_seed_and_unlike_one_another(measure, tmp_path):
    seen = []
    for name in ("a", "b"):
        times = tmp_path / name
        measure("--times", str(times))
        seen.append(sorted(json.loads(line)["prompt"] for line in times.read_text().splitlines()))
    assert seen[0] == seen[1]
    assert len(set(seen[0])) == len(seen[0]) == 22


def test_no_two_runs_of_a_server_begin_their_prompts_alike(embedded_model):
    """A cache of prefixes would answer the second run faster."""
    tokenizer = load_tokenizer(str(embedded_model))
    runs = [
        served_run(), served_run(osl=16), served_run(conc=4), served_run(seed=1),
        served_run(request_rate=5.0), served_run(prompts_per_conc=20),
        served_run().model_copy(update={"isl": 17}),
    ]  # fmt: skip
    begins = [
        tuple(prompt.text.split()[:4])
        for run in runs
        for prompt in make_prompts(tokenizer, 10, run.isl, 1.0, prompt_seed(run))
    ]
    assert len(set(begins)) == len(begins) == 70


def test_a_tokenizer_that_cannot_be_loaded_is_the_reason_of_each_point(tmp_path, embedded_model):
    (tmp_path / "tokenizer.json").write_text("{}")
    options = {"server": {"tokenizer": str(tmp_path)}}
    runs = {f"conc{conc}": served_run(conc=conc, **options) for conc in (2, 1)}
    kept = {}

    def keep(run, result, records):
        kept[run] = (result.status, result.reason)

    assert measure_points(runs, str(embedded_model), tmp_path, keep) == 0  # no server is started
    assert list(kept) == ["conc1", "conc2"]
    for status, reason in kept.values():
        assert status == "failed"
        assert reason.startswith(f"tokenizer of '{tmp_path}': cannot be loaded: ")


def test_a_server_killed_in_the_midst(measure):
    result = measure("--die-at", "10")
    assert result["status"] == "failed"
    assert "the server ended (exit 137)" in result["reason"]


def test_a_server_that_is_never_healthy(measure):
    result = measure("--unhealthy", server={"start_timeout_s": 1.0})
    assert result["status"] == "failed"
    assert "was not healthy within 1 s" in result["reason"]


def test_a_server_that_ends_at_once_leaves_its_last_words(measure):
    result = measure("--exit", "3")
    assert result["reason"].startswith("the server ended (exit 3): ")
    assert "cannot find its weights" in result["reason"]


@pytest.mark.parametrize(
    "words",
    [
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB.",
        "ValueError: No available memory for the cache blocks. Try another utilization.",
    ],
)
def test_a_server_whose_model_does_not_fit_is_an_answer(measure, words):
    result = measure("--exit", "1", "--last-words", words)
    assert result["status"] == "oom"
    assert words in result["reason"]


def test_a_server_that_fails_a_tenth_of_the_requests(measure):
    result = measure("--fail-every", "10")
    assert result["status"] == "failed"
    assert "requests failed, the first: HTTP 500: scripted failure" in result["reason"]


def test_a_stalled_stream(measure):
    result = measure("--stall-after", "2", stall_timeout_s=0.3)
    assert result["status"] == "failed"
    assert "the answer stalled: nothing came for 0.3 s" in result["reason"]


def test_answers_of_a_wrong_length_are_flagged(measure):
    result = measure("--short", "1")
    assert result["status"] == "ok"
    assert result["metrics"]["num_wrong_length"] == 20
    assert "20 answers are not 8 tokens long, but e.g. 7" in result["metrics"]["warnings"]


def test_a_runner_that_was_not_measured_is_flagged_and_the_device_known(measure, monkeypatch):
    installed = {"vllm": "0.11.0", "sglang": "0.5.4", "tensorrt_llm": "1.0.0"}
    version = provenance.metadata.version
    monkeypatch.setattr(
        provenance.metadata, "version", lambda name: installed.get(name) or version(name)
    )
    result = measure(runner="h200-rack1_0")
    told = result["provenance"]
    assert installed.items() <= told["packages"].items()
    assert result["metrics"]["warnings"][-1] == (
        f"the runner is h200-rack1_0, but the measured device is {told['device_name']}"
    )
    assert not any("the runner is" in text for text in measure()["metrics"]["warnings"])


def test_a_server_that_runs_already(measure, tmp_path):
    times = tmp_path / "times"
    with scripted_server("--itl", "0.002", "--times", str(times)) as url:
        result = measure(server={"base_url": url, "request": {"ignore_eos": True}})
    assert result["status"] == "ok"
    assert result["boot"] is None
    bodies = [json.loads(line)["body"] for line in times.read_text().splitlines()]
    assert all(body["ignore_eos"] for body in bodies)


def test_a_key_that_a_server_repeats_is_in_no_result(measure, tmp_path, monkeypatch):
    monkeypatch.setenv("SWEEPMAKE_API_KEY", "secret-of-mine")
    with scripted_server("--fail-every", "1") as url:
        result = measure(server={"base_url": url})
    assert "HTTP 500: scripted failure for Bearer ***" in result["reason"]
    for path in (tmp_path / "out").iterdir():
        assert b"secret-of-mine" not in path.read_bytes()


def test_settings_of_one_address_are_measured_in_turn(tmp_path, embedded_model):
    """Whatever else differs: side by side they would be each other's load."""
    with scripted_server("--itl", "0.02") as url:
        processes = []
        for osl in (8, 9):
            run = served_run(server={"base_url": f"{url}/v1"}, osl=osl)
            folder = tmp_path / "results/runs" / str(osl)
            command = ["-m", "scripts.serve_benchmark", "--run", write_run(folder, run),
                       "--server-dir", tmp_path / f"results/servers/{osl}", "--embedded-model",
                       embedded_model, "--output",
                       tmp_path / f"results/servers/{osl}/points.json"]  # fmt: skip
            processes.append(subprocess.Popen([sys.executable, *map(str, command)], cwd=ROOT))
        assert [process.wait(60) for process in processes] == [0, 0]
    measured = tmp_path.glob("results/servers/*/measured/*.json")
    results = [json.loads(path.read_text()) for path in measured]
    assert [result["status"] for result in results] == ["ok", "ok"]
    (_, end), (start, _) = sorted(
        (r["provenance"]["started_at"], r["provenance"]["ended_at"]) for r in results
    )
    assert end <= start


def test_a_program_beside_this_python_is_found(monkeypatch):
    """Also where its environment is not active."""
    monkeypatch.setenv("PATH", "/nowhere")
    launch = Launch.model_validate(launch_of() | {"command": ["transformers", "serve"]})
    assert missing_program(launch) == ""


def test_a_server_that_is_not_there(measure):
    result = measure(server={"base_url": "http://127.0.0.1:9"})
    assert result["status"] == "failed"
    assert "every warm-up request failed: ClientConnectorError" in result["reason"]


def test_what_this_machine_cannot_run_starts_nothing(measure, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    launch = launch_of() | {"devices": ["cuda"]}
    result = measure(server={"device": "auto", "launch": launch})
    assert result["status"] == "unsupported"
    assert "serves on CUDA devices only" in result["reason"]
    missing = measure(server={"launch": launch_of() | {"command": ["no-such-server"]}})
    assert missing["status"] == "unsupported"
    assert "there is no program 'no-such-server'" in missing["reason"]


@pytest.fixture
def taken():
    """A port on which another program listens and says that it is healthy."""
    with scripted_server() as url:
        yield int(url.rpartition(":")[2])


class Reservation:
    """A port as `reserve_port` gives it, but one that is taken."""

    def __init__(self, port):
        self.port = port

    def getsockname(self):
        return "127.0.0.1", self.port

    def close(self):
        pass


def test_a_port_in_use_is_left_for_another(tmp_path, taken):
    ports = iter([Reservation(taken), reserve_port()])
    launch = Launch.model_validate(launch_of())
    with serve(launch, {}, tmp_path / "log", 30, reserve=lambda: next(ports)) as server:
        assert not server.url.endswith(f":{taken}")


def test_a_port_that_stays_in_use_is_a_reason(tmp_path, taken):
    launch = Launch.model_validate(launch_of())
    with (
        pytest.raises(ServerError, match=f"port {taken} is taken by another program .python"),
        serve(launch, {}, tmp_path / "log", 30, reserve=lambda: Reservation(taken)),
    ):
        pass


@pytest.fixture
def plain():
    """The launch of a server that binds its port without SO_REUSEADDR."""
    return Launch.model_validate(launch_of("--plain-bind") | {"plain_bind": True})


def test_a_server_that_binds_plainly_gets_its_port(tmp_path, plain):
    held = reserve_port()
    port = held.getsockname()[1]
    with serve(plain, {}, tmp_path / "log", 30, reserve=lambda: held) as server:
        assert server.url.endswith(f":{port}")


def test_a_port_that_is_bound_before_the_server_is_left_for_another(tmp_path, plain):
    # Bound only, as by the reservation of another job: nobody is seen to listen.
    with closing(reserve_port()) as other:
        port = other.getsockname()[1]
        ports = iter([Reservation(port), reserve_port()])
        with serve(plain, {}, tmp_path / "log", 30, reserve=lambda: next(ports)) as server:
            assert not server.url.endswith(f":{port}")
        with (
            pytest.raises(ServerError, match=f"port {port} was taken before .*already in use"),
            serve(plain, {}, tmp_path / "log", 30, reserve=lambda: Reservation(port)),
        ):
            pass


def test_a_server_that_binds_plainly_and_ends_is_started_once(tmp_path, plain):
    launch = plain.model_copy(update={"command": [*plain.command, "--exit", "3"]})
    with (
        pytest.raises(ServerError, match=r"^the server ended \(exit 3\)"),
        serve(launch, {}, tmp_path / "log", 30),
    ):
        pass


def test_a_reserved_port_is_given_to_nobody_else():
    with closing(reserve_port()) as held:
        port = held.getsockname()[1]
        with closing(socket.socket()) as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))


def test_a_server_that_ignores_its_end_is_ended_with_its_workers(tmp_path):
    launch = Launch.model_validate(launch_of("--stubborn"))
    with serve(launch, {}, tmp_path / "log", 30):
        assert len(served_processes()) == 3  # supervisor, server, its worker
    assert served_processes() == []


HOLDER = """
import sys, time
from pathlib import Path
from scripts.lib.kinds.inference.frameworks import Launch
from scripts.lib.kinds.inference.server import serve
launch = Launch.model_validate_json(sys.argv[1])
with serve(launch, {}, Path(sys.argv[2]), 30):
    print("healthy", flush=True)
    time.sleep(3600)
"""


@pytest.fixture
def holder(tmp_path):
    """A job that holds a server, to be killed."""
    launch = Launch.model_validate(launch_of("--stubborn")).model_dump_json()
    command = [sys.executable, "-c", HOLDER, launch, str(tmp_path / "log")]
    job = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert job.stdout.readline() == "healthy\n"
    yield job
    job.kill()
    job.wait()
    job.stdout.close()


def wait_until(condition, timeout=20):
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_sigkill_of_the_job_ends_its_server(holder):
    holder.kill()
    holder.wait()
    assert wait_until(lambda: not served_processes())


def test_a_leftover_is_ended_by_the_next_start(holder, tmp_path):
    # Killed together with the supervisor: what is left has nobody to end it.
    worker, *others = sorted(served_processes(), key=lambda p: p.create_time())[::-1]
    for process in (psutil.Process(holder.pid), *others):
        os.kill(process.pid, signal.SIGKILL)
    holder.wait()
    assert wait_until(lambda: served_processes() == [worker])
    with serve(Launch.model_validate(launch_of()), {}, tmp_path / "other", 30):
        assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("step_s", [0, 3600, -3600])
def test_the_server_of_a_living_job_is_left_alone(holder, monkeypatch, step_s):
    before = served_processes()
    created = psutil.Process.create_time

    def create_time(process):  # as the system tells it of the job when its clock was set since
        return created(process) + (step_s if process.pid == holder.pid else 0)

    with monkeypatch.context() as patch:
        patch.setattr(psutil.Process, "create_time", create_time)
        assert end_leftovers() == []
    assert served_processes() == before
    holder.terminate()
    holder.wait()
    assert wait_until(lambda: not served_processes())
