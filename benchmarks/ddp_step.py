"""Real steps of `sorted` against `static`, in turns on the ranks of this machine.

    python -m benchmarks.ddp_step --data_files train.tsv --ranks 2 --global_batch 32

The whole step counts: schedule, forward, backward, reduction, optimiser, of the slowest rank.
Printed are the ratio static / mode and its 95 % bootstrap interval over pairs of neighbouring
blocks of all seeds, and the same ratio of processor times.
"""

import argparse
import json
import tempfile
from pathlib import Path

from scripts import benchmark_ddp
from scripts.lib.config.runs import run_id
from scripts.lib.kinds.ddp.cache import META, write_text_cache
from scripts.lib.kinds.ddp.config import DdpRun
from scripts.lib.kinds.ddp.result import DdpResult
from scripts.lib.results.files import write_text
from scripts.lib.results.reading import read_result
from scripts.lib.schema.yaml_file import load_yaml
from scripts.lib.sweeps.sizes import SIZES


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_files", nargs="+", help="CSV or TSV files; else the docstrings")
    parser.add_argument("--model", default="mini", help="line of config/sizes.yaml")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--global_batch", type=int, default=32)
    parser.add_argument("--max_length", type=int, default=256)
    parser.add_argument("--steps", type=int, default=44)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--vocab", type=int, default=4000)
    parser.add_argument("--cost_type", default="tokens")
    parser.add_argument("--modes", nargs="+", default=["static", "sorted"])
    arguments = parser.parse_args()
    data = {"path": "csv", "data_files": arguments.data_files} if arguments.data_files else {}
    named = ("model", "ranks", "global_batch", "max_length", "steps", "vocab", "cost_type", "modes")
    settings = {name: getattr(arguments, name) for name in named} | {
        "size": load_yaml(SIZES).data[arguments.model],
        "dataset": data,
        "seeds": list(range(arguments.seeds)),
        "warmup_steps": 4,
        "block_steps": 4,
    }
    run = DdpRun.model_validate(settings)
    with tempfile.TemporaryDirectory() as folder:
        path, output = Path(folder, "run.json"), Path(folder, "ddp.json")
        content = run.model_dump()
        write_text(path, json.dumps({"run": run_id(content), "settings": content}))
        write_text_cache(run, Path(folder, "text"))
        called = ["--run", path, "--text", Path(folder, "text", META), "--output", output]
        if benchmark_ddp.main(list(map(str, called))):
            raise SystemExit(1)
        result = read_result(output, DdpResult)
    print(f"{'mode':8} {'ms':>8} {'gain':>6} {'95 % interval':>14} {'cpu gain':>9} {'padded':>7}")
    for mode in run.modes:
        found = getattr(result.metrics, mode) if result.metrics else None
        if found is None:
            raise SystemExit(result.reason)
        told = f"{mode:8} {found.mean_step_time_ms:8.1f}"
        if found.gain:
            few = found.gain_ci_low is None
            interval = "few pairs" if few else f"{found.gain_ci_low:.2f}-{found.gain_ci_high:.2f}"
            told += (
                f" {found.gain:6.2f} {interval:>14} {found.cpu_gain:9.2f} {found.padded_gain:7.2f}"
            )
        print(told)


if __name__ == "__main__":
    main()
