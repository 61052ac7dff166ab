"""Run the real workflow on small configurations in folders of the tests."""

import copy
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import psutil
import pytest
import yaml
from filelock import FileLock

ROOT = Path(__file__).parents[1]
# Options that leave out tables and figures, which take as long as small measurements.
TO_SUMMARY = ("--until", "aggregate_results")

# Columns that no two measurements share.
MEASURED = re.compile(
    r"_time_(ms|us|s)$|_ci_|^cv_|_per_s$|^mfu$|^peak_resident|_at$|^warnings$|^git_"
)

CONFIG = {
    "sizes": {
        "pico": {"d_model": 16, "d_ff": 32, "num_layers": 1, "num_heads": 2},
        "femto": {"d_model": 8, "d_ff": 16, "num_layers": 1, "num_heads": 1},
    },
    "sweeps": {
        "fixed": {
            "kind": "training",
            "size": ["pico", "femto"],
            "context_length": 16,
            "batch_size": 2,
            "mode": ["forward", "training_step"],
            "vocab": 512,
            "num_trials": 6,
        },
        "auto": {
            "kind": "training",
            "size": "pico",
            "context_length": 16,
            "vocab": 512,
            "num_trials": 6,
            "memory_budget_mib": 1,
            "batch_size_search": {"upper_limit": 8},
            # Weights and gradients alone are more than the budget.
            "include": [{"size": "nano"}],
        },
    },
}


@dataclass
class Workflow:
    """A working directory and the configuration of its workflow.

    One core each: threads of two tests at once that wait for one another take many times as long.
    """

    folder: Path
    config: dict

    def command(self, *arguments: str) -> list[str]:
        path = self.folder / "config.yaml"
        path.write_text(yaml.safe_dump(self.config, sort_keys=False))
        return [
            str(Path(sys.executable).parent / "snakemake"), "-s", str(ROOT / "Snakefile"),
            "--directory", str(self.folder), "--configfile", str(path), "--cores", "1", *arguments,
        ]  # fmt: skip

    def call(self, *arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            self.command(*arguments), cwd=self.folder, capture_output=True, text=True, check=False
        )

    def run(self, *arguments: str) -> str:
        done = self.call(*arguments)
        output = done.stdout + done.stderr
        assert done.returncode == 0, output
        return output

    def start(self, *arguments: str) -> psutil.Popen:
        with (self.folder / "output").open("w") as output:
            return psutil.Popen(
                self.command(*arguments), cwd=self.folder, stdout=output, stderr=output
            )

    def planned(self, *arguments: str) -> dict[str, int]:
        """Number of jobs by rule that the next call would run."""
        output = self.run("-n", *arguments)
        if "Nothing to be done" in output:
            return {}
        table = output.split("count\n", 1)[1].split("\n\n", 1)[0]
        jobs = dict(re.findall(r"^(\w+)\s+(\d+)$", table, re.MULTILINE))
        return {rule: int(n) for rule, n in jobs.items() if rule not in ("all", "total")}

    @property
    def summary(self) -> pd.DataFrame:
        return pd.read_csv(self.folder / "results/summary.csv")

    @property
    def lasting(self) -> pd.DataFrame:
        """The summary without what differs from measurement to measurement."""
        summary = self.summary
        return summary[[name for name in summary if not MEASURED.search(name)]]


@pytest.fixture(scope="session")
def _finished(tmp_path_factory, worker_id) -> Workflow:
    """The finished workflow that all processes of the tests share: the first of them runs it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "finished"
    workflow = Workflow(folder, CONFIG)
    with FileLock(f"{folder}.lock"), pytest.MonkeyPatch.context() as patch:
        if not (folder / "results/summary.csv").exists():
            folder.mkdir(exist_ok=True)
            patch.setenv("SWEEPMAKE_LOCKS", str(folder))
            workflow.run()
    return workflow


@pytest.fixture
def finished(_finished, tmp_path) -> Workflow:
    """A finished workflow in a folder of its own, to do with as a test likes."""
    return copied(_finished, tmp_path)


def copied(workflow: Workflow, folder: Path) -> Workflow:
    """A copy of a workflow below a folder."""
    below = folder / "finished"
    shutil.copytree(workflow.folder, below, symlinks=True)
    return Workflow(below, copy.deepcopy(workflow.config))
