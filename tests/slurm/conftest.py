"""A real Slurm on this machine for the time of the tests, with pretended GPUs."""

import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import yaml

from tests.conftest import ROOT
from tests.workflows import Workflow

SCRIPT = Path(__file__).with_name("cluster.sh")
PICO = {
    "kind": "training", "size": "pico", "context_length": 16, "vocab": 512, "batch_size": 2,
    "num_trials": 6,
}  # fmt: skip
SIZES = {"pico": {"d_model": 16, "d_ff": 32, "num_layers": 1, "num_heads": 2}}


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slurm)


@dataclass
class Cluster:
    """The running cluster: its folder, and Slurm's commands on it."""

    folder: Path

    def call(self, *command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def jobs(self) -> dict[str, dict[str, str]]:
        """What Slurm knows of every job so far, by its id; `GRES` names the devices given out."""
        found = {}
        for line in self.call("scontrol", "show", "job", "-o", "-d").splitlines():
            fields = dict(re.findall(r"(\S+?)=(\S*)", line))
            if "JobId" in fields:
                found[fields["JobId"]] = fields
        return found

    def jobs_of(self, workflow: "SlurmWorkflow") -> dict[str, dict[str, str]]:
        """The jobs of one workflow: those of its folder."""
        return {job: f for job, f in self.jobs().items() if f["WorkDir"] == str(workflow.folder)}

    def node(self, state: str) -> None:
        """Take the node down, as if it had failed, or into service again."""
        if state == "down":
            self.call("scontrol", "update", "NodeName=toy0", "State=down", "Reason=test")
            return
        daemon = psutil.Process(int((self.folder / "run/slurmd.pid").read_text()))
        daemon.terminate()
        daemon.wait(timeout=30)
        subprocess.run(["slurmd"], check=True)  # registers, and with that the node is back
        usable = lambda: self.call("sinfo", "-h", "-o", "%t", "-p", "gpu").strip() == "idle"  # noqa: E731
        wait_until(usable, 30, "the node did not come back")

    def controller(self, action: str) -> None:
        """Stop or start the controller, as an upgrade or a crash of it would."""
        if action == "start":
            subprocess.run(["slurmctld"], check=True)
            return
        self.call("scontrol", "shutdown", "slurmctld")
        pid = int((self.folder / "run/slurmctld.pid").read_text() or 0)
        wait_until(lambda: not Path(f"/proc/{pid}").exists(), 30, "the controller did not stop")


@dataclass
class SlurmWorkflow(Workflow):
    """A workflow whose measurements are jobs of the cluster, called as the README says."""

    def command(self, *arguments: str) -> list[str]:
        path = self.folder / "config.yaml"
        path.write_text(yaml.safe_dump(self.config, sort_keys=False))
        return [
            str(Path(sys.executable).parent / "snakemake"), "-s", str(ROOT / "Snakefile"),
            "--directory", str(self.folder), "--configfile", str(path),
            "--profile", str(ROOT / "profiles/slurm-test"), *arguments,
        ]  # fmt: skip


@pytest.fixture(scope="session")
def _running_cluster(tmp_path_factory):
    if not shutil.which("slurmctld", path=os.environ["PATH"] + ":/usr/sbin:/sbin"):
        pytest.skip("Slurm is not installed (Debian: slurm-wlm and munge; `make slurm-packages`)")
    if os.getuid() != 0:
        pytest.skip("the test cluster needs root (slurmd)")
    folder = tmp_path_factory.mktemp("cluster")
    subprocess.run(["bash", SCRIPT, "start", folder], check=True, timeout=60)
    yield Cluster(folder)
    subprocess.run(["bash", SCRIPT, "stop", folder], check=True, timeout=60)


@pytest.fixture
def cluster(_running_cluster, monkeypatch):
    folder = _running_cluster.folder
    monkeypatch.setenv("SLURM_CONF", str(folder / "etc/slurm.conf"))
    monkeypatch.setenv("PATH", f"{folder}/bin:{os.environ['PATH']}:/usr/sbin:/sbin")
    monkeypatch.setenv("SWEEPMAKE_SLURM_POLL_SECONDS", "2")
    yield _running_cluster
    subprocess.run(["scancel", "--user", "root"], check=True)


@pytest.fixture
def workflow(tmp_path, cluster):
    folder = tmp_path / "workflow"
    folder.mkdir()

    def make(**sweeps) -> SlurmWorkflow:
        made = {name: PICO | changes for name, changes in sweeps.items()}
        return SlurmWorkflow(folder, {"sizes": SIZES, "sweeps": made})

    yield make
    for process in psutil.process_iter(["cwd"]):
        if process.info["cwd"] == str(folder):
            process.kill()


def wait_until(condition, seconds: float, otherwise: str):
    """The first true value of `condition`; an AssertionError that says `otherwise` without one."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.1)
    raise AssertionError(otherwise)
