"""Devices are handed out to one job each, and come back however a job ends."""

import multiprocessing
import os
import signal
import time

import pytest

from scripts.lib.devices import slots
from scripts.lib.devices.slots import claim, resolve_device, visible_gpus
from scripts.lib.schema.errors import InputError

FORK = multiprocessing.get_context("spawn")


def hold(device, count, seconds, events):
    with claim(device, count) as kind:
        names = os.environ["CUDA_VISIBLE_DEVICES"] if kind == "cuda" else "cpu"
        events.put(("start", time.monotonic(), os.getpid(), names))
        time.sleep(seconds)
        events.put(("end", time.monotonic(), os.getpid(), names))


def run_jobs(jobs, monkeypatch, devices):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", devices)
    events = FORK.Queue()
    processes = [FORK.Process(target=hold, args=(*job, events)) for job in jobs]
    for process in processes:
        process.start()
    spans = {}
    for _ in range(2 * len(jobs)):
        what, moment, pid, names = events.get(timeout=60)
        spans.setdefault(pid, {"names": names.split(",")})[what] = moment
    for process in processes:
        process.join()
    return list(spans.values())


def overlapping(spans):
    for i, a in enumerate(spans):
        for b in spans[i + 1 :]:
            if a["start"] < b["end"] and b["start"] < a["end"]:
                yield a, b


def test_no_device_is_used_twice_and_all_are_used(monkeypatch):
    spans = run_jobs([("cuda", 1, 0.3)] * 6, monkeypatch, "0,1,2")
    assert {name for span in spans for name in span["names"]} == {"0", "1", "2"}
    together = list(overlapping(spans))
    assert together
    assert all(not set(a["names"]) & set(b["names"]) for a, b in together)


def test_jobs_with_several_devices_do_not_deadlock(monkeypatch):
    spans = run_jobs([("cuda", 2, 0.2)] * 4, monkeypatch, "0,1,2")
    assert all(len(set(span["names"])) == 2 for span in spans)
    assert all(not set(a["names"]) & set(b["names"]) for a, b in overlapping(spans))


def test_ranks_take_gpus_only_where_there_is_one_each(monkeypatch):
    monkeypatch.setattr(slots, "_has_driver", lambda: True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert [resolve_device("auto", count) for count in (1, 2, 3)] == ["cuda", "cuda", "cpu"]
    with claim("auto", 3) as kind:
        assert kind == "cpu"
    with pytest.raises(InputError, match="device: cuda needs 3 GPU"):
        resolve_device("cuda", 3)


def test_cpu_measurements_run_one_at_a_time(monkeypatch):
    spans = run_jobs([("cpu", 1, 0.2)] * 3, monkeypatch, "0,1")
    assert not list(overlapping(spans))


def test_a_killed_holder_leaves_its_device_free(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    events = FORK.Queue()
    process = FORK.Process(target=hold, args=("cuda", 1, 600, events))
    process.start()
    events.get(timeout=60)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    start = time.monotonic()
    with claim("cuda") as kind:
        assert kind == "cuda"
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"
    assert time.monotonic() - start < 5


def test_auto_takes_the_cpu_where_no_gpu_is_visible(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpus() == []
    with claim("auto") as kind:
        assert kind == "cpu"


def test_too_few_gpus_are_told(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with (
        pytest.raises(InputError, match=r"needs 2 GPU\(s\), but this process sees 1"),
        claim("cuda", 2),
    ):
        pass


def test_the_environment_is_restored(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    with claim("cuda", 1):
        assert os.environ["CUDA_VISIBLE_DEVICES"] in ("4", "5")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "4,5"


def test_a_free_gpu_does_not_wait_behind_cpu_measurements(monkeypatch):
    spans = run_jobs([("cpu", 1, 4), ("cpu", 1, 4), ("cuda", 1, 0.1)], monkeypatch, "0")
    gpu = next(span for span in spans if span["names"] == ["0"])
    assert sum(span["end"] < gpu["start"] for span in spans) == 0


def test_names_of_devices_may_have_blanks_and_slashes(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0, MIG-GPU-aa/7/0, ")
    assert visible_gpus() == ["0", "MIG-GPU-aa/7/0"]
    with claim("cuda", 2):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,MIG-GPU-aa/7/0"
