"""Time and peak memory of the aggregation of many result files.

    python -m benchmarks.aggregate --sizes 1000 10000

Writes that many results in a temporary folder, a real result copied under other ids, and runs
`scripts.aggregate_results` on them as a process of its own.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from scripts.lib.config.runs import run_id
from scripts.lib.kinds.training.config import TrainingRun
from scripts.lib.kinds.training.tokens import write_embedded_tokens

BATCH = 250


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 3000, 10_000])
    print(f"{'results':>8} {'wall s':>8} {'CPU s':>8} {'peak MiB':>9}")
    for count in parser.parse_args().sizes:
        with tempfile.TemporaryDirectory() as folder:
            write_results(Path(folder), count)
            wall, cpu, peak = aggregate(Path(folder))
            print(f"{count:8} {wall:8.2f} {cpu:8.2f} {peak:9.1f}", flush=True)


def write_results(folder: Path, count: int) -> None:
    """Write `count` result files and their batch files."""
    text = real_result(folder)
    data = json.loads(text)
    runs = [f"run{i}-{i:08x}" for i in range(count)]
    for run in runs:
        path = folder / "runs" / run
        path.mkdir(parents=True)
        (path / "benchmark.json").write_text(json.dumps(data | {"run": run}, indent=1))
    for number, start in enumerate(range(0, count, BATCH)):
        path = folder / "batches/many" / f"{number}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        batch = {"sweep": "many", "batch": number, "kind": "training"}
        path.write_text(json.dumps(batch | {"runs": runs[start : start + BATCH]}))


def real_result(folder: Path) -> str:
    """The text of one real result, measured here."""
    run = TrainingRun(
        model_size="pico", d_model=16, d_ff=32, num_layers=1, num_heads=2, context_length=16,
        batch_size=2, mode="training_step", vocab=512, num_trials=50, device="cpu",
    )  # fmt: skip
    settings = run.model_dump()
    (folder / "run.json").write_text(json.dumps({"run": run_id(settings), "settings": settings}))
    write_embedded_tokens(folder / "tokens.npy", run.vocab)
    output = folder / "one.out"
    options = ["--run", folder / "run.json", "--tokens", folder / "tokens.npy", "--output", output]
    # A process of its own: torch in this one would count as memory of those it starts.
    command = [sys.executable, "-m", "scripts.benchmark", *map(str, options)]
    subprocess.run(command, check=True, capture_output=True)
    return output.read_text()


def aggregate(folder: Path) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and peak memory (MiB) of the aggregation as a process."""
    command = [
        sys.executable, "-m", "scripts.aggregate_results", "--results-dir", str(folder),
        "--csv", str(folder / "s.csv"), "--parquet", str(folder / "s.parquet"),
        "--overview", str(folder / "overview.json"),
    ]  # fmt: skip
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    if status:
        raise SystemExit(f"the aggregation failed with status {status}")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


if __name__ == "__main__":
    main()
