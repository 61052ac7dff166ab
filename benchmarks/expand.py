"""Measure how long a sweep matrix takes to expand, as it grows.

    python -m benchmarks.expand [--sizes 1000 3000 ...]

CPU seconds of this process, the best of three. `expand` goes from checked entries to the JSON
text of all points, `count` from checked entries to the number of batches, `load` from the YAML
text of a master file of that size to checked entries; `command` is a whole call in a process of
its own, start and imports included, with the JSON and with the number of batches only.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from scripts.lib.kinds.inference.matrix import Filters, Matrix, full_sweep, load_master
from scripts.lib.kinds.inference.matrix.formats import aligned, json_text
from scripts.lib.sweeps.batches import batch_count

SIZES = (1_000, 3_000, 6_000, 12_000, 24_000, 48_000)
REPEATS = 3


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; return 0."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, metavar="N")
    sizes = parser.parse_args(argv).sizes
    rows = [["N", "load_s", "expand_s", "ratio", "count_s", "command_s", "command_count_s"]]
    first = None
    for size in sizes:
        seconds = _seconds(size)
        first = first or seconds["expand"] / size
        ratio = seconds["expand"] / size / first
        rows.append(
            [
                str(size),
                *(f"{seconds[name]:.3f}" for name in ("load", "expand")),
                f"{ratio:.2f}",
                *(f"{seconds[name]:.3f}" for name in ("count", "command", "command_count")),
            ]
        )
        print(f"{size} points measured", file=sys.stderr)
    print(aligned(rows))
    print("ratio: expand_s per point, against the first row")
    return 0


def master_lines(size: int) -> Iterator[str]:
    """Yield the lines of a master file of exactly `size` points, shaped like real ones.

    An entry has 33 points: three pairs of lengths, tp 2, 4 and 8, concurrencies 4 to 64 or 32.
    """
    left, entry = size, 0
    while left:
        yield f"model-fp8-node-{entry}:"
        yield f"  image: registry/server:v{entry}"
        yield "  model: organisation/model"
        yield "  model-prefix: model"
        yield "  precision: fp8"
        yield "  framework: server"
        yield f"  runner: node-{entry % 7}"
        yield "  seq-len-configs:"
        for isl, osl in ((1024, 1024), (1024, 8192), (8192, 1024)):
            if left:
                yield f"  - isl: {isl}"
                yield f"    osl: {osl}"
                yield "    search-space:"
            for tp, steps in ((2, 5), (4, 4), (8, 2)):
                taken = min(steps, left)
                left -= taken
                if taken:
                    yield f"    - {{ tp: {tp}, conc-start: 4, conc-end: {4 * 2 ** (taken - 1)} }}"
        entry += 1


def _seconds(size: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "master.yaml")
        path.write_text("\n".join(master_lines(size)) + "\n", encoding="utf-8")
        load, master = _best(lambda: load_master([path]))
        expand, text = _best(lambda: json_text(Matrix.of(full_sweep(master, Filters())).points()))
        count, batches = _best(
            lambda: batch_count(len(Matrix.of(full_sweep(master, Filters()))), 256)
        )
        if text.count('"image"') != size or batches != -(-size // 256):
            raise AssertionError(f"expanded to something else than {size} points")
        return {
            "load": load,
            "expand": expand,
            "count": count,
            "command": _command(path),
            "command_count": _command(path, "--get-batch-count"),
        }


def _best(work: Callable[[], Any]) -> tuple[float, Any]:
    best, result = float("inf"), None
    for _ in range(REPEATS):
        start = time.process_time()
        result = work()
        best = min(best, time.process_time() - start)
    return best, result


def _command(path: Path, *options: str) -> float:
    module = "scripts.generate_sweep_configs"
    command = [sys.executable, "-m", module, "full-sweep", "--config-files", str(path), *options]
    best = float("inf")
    for _ in range(REPEATS):
        before = os.times()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        after = os.times()
        used = after.children_user - before.children_user
        best = min(best, used + after.children_system - before.children_system)
    return best


if __name__ == "__main__":
    sys.exit(main())
