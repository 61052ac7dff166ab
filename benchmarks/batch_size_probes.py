"""Find the largest batch of nine small configurations with real probes on the CPU.

    python -m benchmarks.batch_size_probes [--budget-method rlimit] [--fresh-starts 4]

A small Llama with generation at three context lengths and three budgets. The table has what was
found, whether it is certified, the probes and seconds. Then what a further probe costs beside its
workload: a process that does nothing. With fresh starts the same is found anew in Python processes
of their own, and the command fails unless all agree. The last line is JSON.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from scripts.lib.batch_size.guided import Guided
from scripts.lib.batch_size.probes import ProbeServer
from scripts.lib.batch_size.search import Outcome, Search, find_largest
from scripts.lib.batch_size.task import Task
from scripts.lib.kinds.inference.matrix.formats import aligned
from scripts.lib.kinds.registry import KINDS
from scripts.lib.kinds.training.config import TrainingRun
from scripts.lib.kinds.training.tokens import write_embedded_tokens

MIB = 1 << 20
CONTEXT_LENGTHS = (32, 64, 128)
BUDGETS_MIB = (40, 70, 100)
EMPTY_PROBES = 10
MODEL = {
    "kind": "training", "model_size": "small_llama", "d_model": 64, "d_ff": 172, "num_layers": 2,
    "num_heads": 4, "vocab": 8000, "mode": "forward", "batch_size": "auto", "device": "cpu",
    "num_threads": 1,
}  # fmt: skip


def nothing(task: Task, batch_size: int, budget_bytes: float, budget_method: str) -> Outcome:
    """Probe nothing: what is left is the cost of the process."""
    return Outcome("ok", 0.0)


def find_all(
    budget_method: str, context_lengths: Sequence[int], budgets_mib: Sequence[int], folder: str
) -> tuple[list[dict[str, Any]], float]:
    """Results of each context with each budget, and the median seconds of a probe of nothing."""
    tokens = Path(folder, "tokens.npy")
    write_embedded_tokens(tokens, MODEL["vocab"])
    found = [
        _find(_task(context, budget, budget_method, tokens))
        for context in context_lengths
        for budget in budgets_mib
    ]
    empty = ProbeServer(_task(32, 6, budget_method, tokens), nothing)
    for _ in range(EMPTY_PROBES):
        empty.probe(1, 0, budget_method)
    return found, median(empty.seconds)


def _task(context: int, budget_mib: float, budget_method: str, tokens: Path) -> Task:
    search = {"workload": "generate", "max_new_tokens": 16, "budget_method": budget_method}
    settings = {
        **MODEL,
        "context_length": context,
        "memory_budget_mib": float(budget_mib),
        "batch_size_search": search,
    }
    run = TrainingRun.model_validate(settings)
    return Task(run, str(tokens), "cpu", KINDS[run.kind].probing)


def _find(task: Task) -> dict[str, Any]:
    server = ProbeServer(task)
    description = server.describe()
    start = time.perf_counter()

    def probe(batch_size: int) -> Outcome:
        return server.probe(batch_size, description.budget_bytes, description.budget_method)

    search = Search(probe, task.settings.upper_limit, budget_bytes=description.budget_bytes)
    find_largest(search, Guided())
    return {
        "context_length": task.run.model_dump()["context_length"],
        "budget_mib": task.run.memory_budget_mib,
        "batch_size": search.found,
        "certified": search.certified,
        "status": "failed" if search.failure else "ok",
        "probes": len(search.attempts),
        "ooms": sum(a.outcome.outcome == "oom" for a in search.attempts),
        "seconds": round(time.perf_counter() - start, 2),
        "seconds_per_probe": round(median(server.seconds), 3),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; return 0, or 1 if a fresh start found something else."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--budget-method", default="budget", choices=["budget", "rlimit"])
    parser.add_argument(
        "--context-lengths", type=int, nargs="+", default=CONTEXT_LENGTHS, metavar="N"
    )
    parser.add_argument("--budgets-mib", type=int, nargs="+", default=BUDGETS_MIB, metavar="N")
    parser.add_argument("--fresh-starts", type=int, default=0, metavar="N")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        found, overhead = find_all(
            arguments.budget_method, arguments.context_lengths, arguments.budgets_mib, folder
        )
    rows = [list(found[0]), *([str(value) for value in result.values()] for result in found)]
    print(aligned(rows))
    print(f"a probe of nothing: {overhead:.3f} s")
    sizes = [result["batch_size"] for result in found]
    command = [sys.executable, "-m", "benchmarks.batch_size_probes"]
    command += ["--budget-method", arguments.budget_method]
    command += ["--context-lengths", *map(str, arguments.context_lengths)]
    command += ["--budgets-mib", *map(str, arguments.budgets_mib)]
    agreed = True
    for start in range(arguments.fresh_starts):
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        again = json.loads(done.stdout.splitlines()[-1])["batch_sizes"]
        agreed = agreed and again == sizes
        print(f"fresh start {start + 1}: {'the same' if again == sizes else again}")
    certified = all(result["certified"] for result in found)
    print(json.dumps({"batch_sizes": sizes, "certified": certified, "overhead_s": overhead}))
    return 0 if agreed else 1


if __name__ == "__main__":
    sys.exit(main())
