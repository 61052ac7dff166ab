"""The workflow on a real Slurm: what jobs ask for, and what a fault of the cluster costs."""

import itertools
import json
import re
import signal
import subprocess
import sys
import time
from collections import Counter

import psutil
import pytest

from tests.conftest import ROOT
from tests.slurm.conftest import wait_until
from tests.workflows import TO_SUMMARY

# Long enough to be disturbed; and so long that only a disturbance ends it.
MIDDLE = {"num_trials": 300}
LONG = {"num_trials": 20_000, "num_steps": 2}


def measuring(workflow, part: str = "") -> psutil.Process | None:
    """The measuring program of a run with `part` in its name, once it is at its trials."""
    for process in psutil.process_iter(["cmdline", "cwd"]):
        command = process.info["cmdline"] or []
        if process.info["cwd"] == str(workflow.folder) and "scripts.benchmark" in command:
            if part not in run_of(command):
                continue
            log = workflow.folder / "logs/benchmark" / f"{run_of(command)}.log"
            python = command[0].endswith("python")
            if python and log.exists() and "trials: 0" in log.read_text():
                return process
    return None


def show(flow) -> subprocess.CompletedProcess:
    """What `make status` tells."""
    command = [sys.executable, "-m", "scripts.show_status", "--config", "config.yaml"]
    return subprocess.run(command, cwd=flow.folder, capture_output=True, text=True, check=True)


def run_of(command: list[str]) -> str:
    return re.search(r"runs/([^/]+)/", " ".join(command)).group(1)


def started(workflow):
    """The called workflow, and its measuring job once it measures."""
    process = workflow.start()
    job = wait_until(lambda: measuring(workflow), 120, "no measurement began")
    return process, job


def finish(process, workflow, seconds: float = 150) -> str:
    code = process.wait(timeout=seconds)
    output = (workflow.folder / "output").read_text()
    assert code == 0, output
    return output


def test_jobs_ask_for_what_the_profile_says(cluster, workflow):
    flow = workflow(gpu={"mode": ["forward", "training_step"]}, cpu={"device": "cpu"})
    flow.run(*TO_SUMMARY)
    assert list(flow.summary["status"]) == ["ok"] * 3
    jobs = cluster.jobs_of(flow).values()
    assert len(jobs) == 3  # what is short was local
    gpu = [job for job in jobs if job["Partition"] == "gpu"]
    assert {job["TresPerJob"] for job in gpu} == {"gres:gpu:1"}
    assert {(job["NumNodes"], job["TimeLimit"], job["MinMemoryNode"]) for job in jobs} == {
        ("1", "00:10:00", "2000M")
    }
    assert len(gpu) == 2
    assert [job.get("TresPerJob") for job in jobs if job["Partition"] == "cpu"] == [None]


def test_jobs_at_once_have_different_devices(cluster, workflow):
    """There are never more of them than devices; the others wait."""
    modes = ["forward", "forward_backward", "training_step"]
    flow = workflow(gpu={"mode": modes, "context_length": [8, 16]} | LONG)
    process = flow.start()
    states = lambda: Counter(job["JobState"] for job in cluster.jobs_of(flow).values())  # noqa: E731
    full = {"RUNNING": 4, "PENDING": 2}
    wait_until(lambda: states() == full, 120, "not four of six jobs ran")
    devices = wait_until(
        lambda: len(given := devices_of(flow)) == 4 and given, 120, "four jobs did not start"
    )
    assert sorted(devices.values()) == ["0", "1", "2", "3"]
    assert states() == full
    process.send_signal(signal.SIGINT)  # cancels what was submitted
    process.wait(timeout=60)
    cancelled = {"CANCELLED", "COMPLETING"}  # by the controller, after the call has ended
    wait_until(lambda: set(states()) <= cancelled, 60, "jobs were not cancelled")


def devices_of(flow) -> dict[str, str]:
    """`CUDA_VISIBLE_DEVICES` in the running jobs of a workflow, by their ids."""
    found = {}
    for process in psutil.process_iter(["cwd", "environ"]):
        environment = process.info["environ"] or {}
        if process.info["cwd"] == str(flow.folder) and "SLURM_JOB_ID" in environment:
            found[environment["SLURM_JOB_ID"]] = environment.get("CUDA_VISIBLE_DEVICES")
    return found


@pytest.fixture
def recovers(cluster, note_fault):
    """Waits for a disturbed workflow, whose jobs must end in these states, in order."""

    def wait(process, flow, fault: str, attempts: list[str]) -> None:
        start = time.monotonic()
        finish(process, flow)
        undisturbed(flow, cluster, attempts)
        lost = "nothing" if len(attempts) == 1 else "that attempt"
        again = f"{len(attempts) - 1} benchmark, in the same call"
        note_fault(f"Slurm: {fault}", lost, again, time.monotonic() - start)

    return wait


def undisturbed(flow, cluster, attempts: list[str]) -> None:
    """The sweep is as it should be, and its jobs ended in these states, in order."""
    assert list(flow.summary["status"]) == ["ok"]
    assert [job["JobState"] for job in cluster.jobs_of(flow).values()] == attempts
    assert flow.planned() == {}


def test_disturbed_jobs_are_made_again_with_more_time_and_memory(cluster, workflow, note_fault):
    modes = ["forward", "forward_backward", "training_step"]
    flow = workflow(gpu=MIDDLE | {"mode": modes})
    process = flow.start()
    at_work = lambda mode: wait_until(  # noqa: E731
        lambda: measuring(flow, f"-{mode}-"), 120, f"no measurement of {mode} began"
    )
    at_work("forward").kill()
    at_work("forward_backward")
    jobs = cluster.jobs_of(flow)
    job_of = {mode: j for j, f in jobs.items() for mode in modes if f"-{mode}-" in f["Comment"]}
    cluster.call("scancel", job_of["forward_backward"])
    at_work("training_step")
    cluster.call("scontrol", "update", f"JobId={job_of['training_step']}", "EndTime=now+1")
    start = time.monotonic()
    finish(process, flow)
    assert list(flow.summary["status"]) == ["ok"] * 3
    assert flow.planned() == {}
    seconds = time.monotonic() - start
    ends = {
        mode: [
            (job["JobState"], job["TimeLimit"], job["MinMemoryNode"])
            for job in cluster.jobs_of(flow).values()
            if f"-{mode}-" in job["Comment"]
        ]
        for mode in modes
    }
    faults = {"forward": "FAILED", "forward_backward": "CANCELLED", "training_step": "TIMEOUT"}
    for mode, state in faults.items():
        (first, _, memory), again = ends[mode]
        assert (first, memory) == (state, "2000M")
        assert again == ("COMPLETED", "00:20:00", "4000M")
        note_fault(
            f"Slurm: a job ends as {state}", "that attempt", "1 benchmark, by itself", seconds
        )


def test_a_node_that_fails_costs_its_job_and_not_the_sweep(cluster, workflow, recovers):
    flow = workflow(gpu=MIDDLE)
    process, job = started(flow)
    cluster.node("down")
    try:
        states = lambda: [job["JobState"] for job in cluster.jobs_of(flow).values()]  # noqa: E731
        wait_until(lambda: "NODE_FAIL" in states(), 30, "the job did not fail with its node")
        job.kill()  # what ran there ends with the node
    finally:
        cluster.node("up")
    recovers(process, flow, "the node goes down", ["NODE_FAIL", "COMPLETED"])


def test_an_outage_of_the_controller_costs_nothing(cluster, workflow, recovers):
    flow = workflow(gpu=MIDDLE)
    process, _ = started(flow)
    cluster.controller("stop")
    time.sleep(30)
    assert process.is_running()
    cluster.controller("start")
    recovers(process, flow, "the controller is away for 30 s", ["COMPLETED"])


def test_submission_waits_for_the_controller(cluster, workflow, recovers):
    flow = workflow(gpu={"mode": "forward"})
    cluster.controller("stop")
    try:
        process = flow.start()
        output = flow.folder / "output"
        told = lambda: "the Slurm controller does not answer" in output.read_text()  # noqa: E731
        wait_until(told, 60, "nothing was submitted, and nothing said")
    finally:
        cluster.controller("start")
    recovers(process, flow, "the controller is away when a job is submitted", ["COMPLETED"])


def test_a_job_that_slurm_never_starts_is_told(cluster, workflow):
    flow = workflow(gpu={"mode": "forward"})
    process = flow.start("--set-resources", "benchmark:runtime=600")
    told = lambda: "PartitionTimeLimit" in (flow.folder / "output").read_text()  # noqa: E731
    wait_until(told, 60, "nothing was said")
    process.send_signal(signal.SIGINT)
    process.wait(timeout=60)
    (job,) = cluster.jobs_of(flow)
    assert f"PartitionTimeLimit: {job} (docs" in (flow.folder / "output").read_text()


def test_a_measurement_that_always_fails_is_named_and_the_others_are_made(cluster, workflow):
    flow = workflow(always=LONG, soon={"mode": "forward"})
    process = flow.start()
    killed = []
    while process.poll() is None:
        job = measuring(flow)
        if job and "-forward-" not in run_of(job.cmdline()):
            killed.append(run_of(job.cmdline()))
            job.kill()
            psutil.wait_procs([job], timeout=30)
        time.sleep(0.2)
    assert process.returncode != 0
    assert len(killed) == 2
    summary = flow.summary.set_index("run")["status"]
    assert summary[killed[0]] == "missing"
    assert summary.value_counts().to_dict() == {"missing": 1, "ok": 1}
    told = show(flow)
    assert json.loads(told.stdout)["status"] == {"missing": 1, "ok": 1}
    assert f"missing: {killed[0]}: no result; its log ends: " in told.stderr


def test_points_of_a_server_are_one_job(cluster, workflow):
    flow = workflow()
    search = [{"tp": 1, "conc-list": [1, 2, 3]}]
    entry = {
        "image": "none", "model": "embedded", "model-prefix": "embedded", "precision": "fp32",
        "framework": "transformers", "runner": "cpu",
        "seq-len-configs": [{"isl": 16, "osl": 8, "search-space": search}],
    }  # fmt: skip
    load = {"prompts_per_conc": 2, "warmups_per_conc": 1}
    flow.config["sweeps"]["served"] = {"kind": "inference", "load": load, "entries": {"a": entry}}
    flow.run(*TO_SUMMARY)
    assert list(flow.summary["status"]) == ["ok"] * 3
    (job,) = cluster.jobs_of(flow).values()
    assert (job["TresPerJob"], job["TimeLimit"]) == ("gres:gpu:1", "00:10:00")
    results = [json.loads(p.read_text()) for p in flow.folder.glob("results/runs/*/inference.json")]
    assert len({result["boot"]["server_boot"] for result in results}) == 1


def test_jobs_that_a_killed_workflow_left_are_not_submitted_again(cluster, workflow):
    flow = workflow(gpu=LONG)
    process, _ = started(flow)
    process.kill()
    process.wait(30)
    (job,) = cluster.jobs_of(flow)
    told = subprocess.run(flow.command(), cwd=flow.folder, capture_output=True, text=True)
    assert told.returncode != 0
    assert f"or end them: scancel {job}" in told.stdout + told.stderr
    assert list(cluster.jobs_of(flow)) == [job]
    cluster.call("scancel", job)
    gone = lambda: not cluster.call("squeue", "--noheader", f"--jobs={job}").strip()  # noqa: E731
    wait_until(gone, 30, "the job was not cancelled")
    flow.config["sweeps"]["gpu"] = {**flow.config["sweeps"]["gpu"], "num_trials": 6}
    flow.run(*TO_SUMMARY)
    assert list(flow.summary["status"]) == ["ok"]


def test_packed_measurements_take_turns_on_one_device(cluster, workflow):
    flow = workflow(gpu={"mode": ["forward", "forward_backward", "training_step"]})
    flow.run(*TO_SUMMARY, "--groups", "benchmark=measure", "--group-components", "measure=25")
    assert list(flow.summary["status"]) == ["ok"] * 3
    jobs = list(cluster.jobs_of(flow).values())
    assert [job["TresPerJob"] for job in jobs] == ["gres:gpu:1"]
    results = [json.loads(p.read_text()) for p in flow.folder.glob("results/runs/*/benchmark.json")]
    spans = sorted((r["provenance"]["started_at"], r["provenance"]["ended_at"]) for r in results)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))


def test_a_pilot_ends_itself_before_its_time_and_the_next_goes_on(cluster, workflow):
    flow = workflow(gpu=LONG, soon={"mode": "forward"})
    flow.command()
    pilot = ["sbatch", "--parsable", "--partition=gpu", "--gpus-per-node=1", "--mem=4000"]
    pilot += ["--time=10", "-D", str(flow.folder), str(ROOT / "profiles/slurm/pilot.sh")]
    job = cluster.call(*pilot, "--configfile", "config.yaml").strip()
    wait_until(lambda: measuring(flow, "-training_step-"), 120, "no measurement began")
    cluster.call("scancel", "--batch", "--signal=INT", job)  # as Slurm does before the end
    wait_until(lambda: cluster.jobs()[job]["JobState"] != "RUNNING", 60, "the pilot did not end")
    assert not measuring(flow)
    flow.config["sweeps"]["gpu"]["num_trials"] = 6
    flow.command()
    cluster.call(*pilot[:1], "--wait", *pilot[2:], "--configfile", "config.yaml")
    assert list(flow.summary["status"]) == ["ok"] * 2


def test_a_pilot_measures_on_all_devices_of_its_node(cluster, workflow):
    flow = workflow(gpu={"mode": ["forward", "training_step"]})
    flow.command()  # writes the configuration
    cluster.call(
        "sbatch", "--wait", "--partition=gpu", "--gpus-per-node=2", "--mem=4000", "--time=10", "-D", str(flow.folder),
        str(ROOT / "profiles/slurm/pilot.sh"), "--configfile", "config.yaml",
    )  # fmt: skip
    assert list(flow.summary["status"]) == ["ok"] * 2
    assert len(cluster.jobs_of(flow)) == 1
