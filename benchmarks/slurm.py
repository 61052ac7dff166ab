"""Bookkeeping of Slurm jobs: jobs per minute one by one, packed, and in a pilot.

    python -m benchmarks.slurm [--jobs 200]

Starts the one-node cluster of tests/slurm (root; Debian's slurm-wlm and munge) and runs a workflow
of trivial jobs on it, the three ways in turn: what they take is Snakemake's and Slurm's own cost.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
CLUSTER = ROOT / "tests/slurm/cluster.sh"
SNAKEMAKE = Path(sys.executable).with_name("snakemake")
SNAKEFILE = (
    f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from scripts.lib.workflow.slurm_guard import guard_executor

onstart:
    if workflow.is_main_process:
        guard_executor(workflow.executor_plugin.name)

"""
    + """
rule all:
    input:
        expand("done/{job}", job=range(int(config["jobs"]))),

rule job:
    output:
        "done/{job}",
    resources:
        gpu=1,
        gpu_slot=1,
        slurm_partition="gpu",
        runtime=1,  # minutes; those of a pack add up
    shell:
        "touch {output}"
"""
)
PACKED = ["--groups", "job=pack", "--group-components", "pack=25"]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=200)
    jobs = parser.parse_args().jobs
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "Snakefile").write_text(SNAKEFILE)
        subprocess.run(["bash", CLUSTER, "start", folder / "cluster"], check=True)
        environment = os.environ | {
            "SLURM_CONF": f"{folder}/cluster/etc/slurm.conf",
            "PATH": f"{folder}/cluster/bin:{os.environ['PATH']}",
            "SWEEPMAKE_SLURM_POLL_SECONDS": "10",
        }
        profile = ["--profile", str(ROOT / "profiles/slurm-test")]
        ways = {
            "one Slurm job each": [*profile, "--jobs", "100"],
            "packed, 25 to a Slurm job": [*profile, "--jobs", "100", *PACKED],
            "locally, as in a pilot": ["--cores", "4", "--resources", "gpu=4"],
        }
        print("| way | jobs | seconds | jobs per minute |\n| --- | ---: | ---: | ---: |")
        try:
            for way, options in ways.items():
                seconds = timed(
                    folder / way.split(",")[0].replace(" ", "-"), jobs, options, environment
                )
                print(f"| {way} | {jobs} | {seconds:.1f} | {60 * jobs / seconds:.0f} |", flush=True)
        finally:
            subprocess.run(["bash", CLUSTER, "stop", folder / "cluster"], check=True)


def timed(folder: Path, jobs: int, options: list[str], environment: dict[str, str]) -> float:
    """Seconds that the workflow takes in a folder of its own."""
    folder.mkdir()
    command = [SNAKEMAKE, "-s", folder.parent / "Snakefile", "--config", f"jobs={jobs}", *options]
    start = time.monotonic()
    subprocess.run(
        [*command, "--quiet", "all"], cwd=folder, env=environment, check=True, capture_output=True
    )
    return time.monotonic() - start


if __name__ == "__main__":
    main()
