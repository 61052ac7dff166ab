"""CPU time and memory of a dry run, and of the expansion in it, against the number of runs.

    python -m benchmarks.dag --sizes 1000 3000 10000

Each size is planned with `-n --quiet` from an empty folder, so that every job is new. The
ratio is the CPU time per run against that of the first size: 1 is linear.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from scripts.lib.config import expand, load_config

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 3000, 10_000])
    print(f"{'runs':>8} {'expand s':>9} {'CPU s':>8} {'ratio':>7} {'peak MiB':>9}")
    first = None
    for count in parser.parse_args().sizes:
        expand_cpu, cpu, peak = plan(count)
        first = first or cpu / count
        ratio = cpu / count / first
        print(f"{count:8} {expand_cpu:9.2f} {cpu:8.2f} {ratio:7.2f} {peak:9.0f}", flush=True)


def plan(count: int) -> tuple[float, float, float]:
    """CPU seconds of expansion and dry run of `count` runs, and the latter's peak memory (MiB)."""
    sweep = {
        "kind": "training", "size": "nano", "batch_size": 4,
        "context_length": list(range(2, count + 2)),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "config.yaml")
        config.write_text(yaml.safe_dump({"sweeps": {"many": sweep}}))
        start = time.process_time()
        expand(load_config([config]))
        expand_cpu = time.process_time() - start
        command = [
            str(Path(sys.executable).parent / "snakemake"), "-s", str(ROOT / "Snakefile"), "-n",
            "--quiet", "--directory", folder, "--configfile", str(config), "--cores", "1",
        ]  # fmt: skip
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        errors = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(errors.decode())
    return expand_cpu, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


if __name__ == "__main__":
    main()
