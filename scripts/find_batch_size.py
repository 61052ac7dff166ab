"""Find the largest batch size at which a run fits into memory.

    python -m scripts.find_batch_size --run run.json --data tokens.npy --output batch_size.json

Each size is tried in a process of its own with the worst case of the run. A run with a number as
its batch size, or with `auto_adjust_batch_size: false`, is not probed: its size is written. Under
torchrun all ranks probe together, and rank 0 writes the result.
"""

import argparse
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from scripts.lib.batch_size.finding import find_batch_size
from scripts.lib.batch_size.probing import Probing
from scripts.lib.batch_size.result import MEASUREMENT_VERSION, BatchSizeResult
from scripts.lib.batch_size.task import Task
from scripts.lib.devices.slots import claim, resolve_device
from scripts.lib.kinds.registry import KINDS, load_run
from scripts.lib.results.files import write_text
from scripts.lib.runtime.program import new_parser, run_program
from scripts.lib.runtime.provenance import collect_provenance, now
from scripts.lib.runtime.ranks import joined_ranks
from scripts.lib.schema.errors import InputError
from scripts.lib.sweeps.run import ProbedRun


def main(argv: Sequence[str] | None = None) -> int:
    """CLI entry point."""
    parser = new_parser("scripts.find_batch_size", __doc__)
    parser.add_argument("--run", required=True, help="run.json of the run")
    parser.add_argument(
        "--data",
        "--tokens",
        help="what the run is fed with: token ids (.npy) of a training run, the run's or embedded "
        "ones unless given; meta.json of the text of a ddp run; training.json of the embedded "
        "model of an accuracy run",
    )
    parser.add_argument("--output", required=True, help="result file to write")
    parser.add_argument(
        "--strategy", choices=["guided", "estimate", "gallop"], help="in place of the run's"
    )
    parser.add_argument("--memory-budget-mib", type=float, help="in place of the run's")
    parser.add_argument("--neighbour", metavar="FILE", help="batch_size.json to start from")
    parser.add_argument(
        "--neighbours", metavar="DIR", help="folder of runs; the nearest of the family is used"
    )
    return run_program(parser, _execute, argv)


def _execute(arguments: argparse.Namespace) -> dict[str, Any]:
    run_id, run = load_run(arguments.run)
    probing = KINDS[run.kind].probing
    if probing is None or not isinstance(run, ProbedRun) or probing.requested(run) is None:
        raise InputError(f"{arguments.run}: has no batch size to find: kind {run.kind}")
    run = _overridden(run, arguments)
    started_at = now()
    requested = probing.requested(run)
    if requested != "auto" or not run.search.auto_adjust_batch_size:
        size = run.search.upper_limit if requested == "auto" else requested
        return _write(run_id, run, started_at, arguments.output, _fixed(size))
    if arguments.neighbour and run.search.strategy != "guided":
        raise InputError(f"--neighbour: needs strategy guided, not {run.search.strategy}")
    with probing.data(run, arguments.data) as data, joined_ranks() as ranks:
        with _device(run, probing) as kind:
            found = find_batch_size(
                Task(run, data, kind, probing), ranks, arguments.neighbour, arguments.neighbours
            )
        if ranks.rank == 0:
            return _write(run_id, run, started_at, arguments.output, found)
    return {"run": run_id, "rank": ranks.rank, "batch_size": found["batch_size"]}


def _overridden(run: ProbedRun, arguments: argparse.Namespace) -> ProbedRun:
    """Return the run with what the command line says in its place."""
    changes: dict[str, Any] = {}
    if arguments.memory_budget_mib is not None:
        if arguments.memory_budget_mib <= 0:
            raise InputError("--memory-budget-mib: must be above 0")
        changes["memory_budget_mib"] = arguments.memory_budget_mib
    if arguments.strategy:
        search = run.search.model_copy(update={"strategy": arguments.strategy})
        changes["batch_size_search"] = search
    return run.model_copy(update=changes)


def _fixed(size: int) -> dict[str, Any]:
    return {
        "status": "ok",
        "batch_size": size,
        "recommended_batch_size": size,
        "upper_limit": size,
        "strategy": "fixed",
    }


@contextmanager
def _device(run: ProbedRun, probing: Probing) -> Iterator[str]:
    """Hold the device of this rank, of the kind that all ranks of the run find.

    Ranks on the CPU of one host share it by its first one.
    """
    started = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    kind = resolve_device(run.device, max(started, probing.ranks(run)))
    if kind == "cpu" and int(os.environ.get("LOCAL_RANK", "0")):
        yield "cpu"
    else:
        with claim(kind) as held:
            yield held


def _write(
    run_id: str, run: ProbedRun, started_at: str, output: str, found: dict[str, Any]
) -> dict[str, Any]:
    device = found.pop("device", None)
    result = BatchSizeResult(
        measurement_version=MEASUREMENT_VERSION,
        run=run_id,
        kind=run.kind,
        settings=run.model_dump(),
        provenance=collect_provenance(started_at, device, KINDS[run.kind].seed(run)),
        **found,
    )
    write_text(output, result.model_dump_json(indent=1) + "\n")
    names = ("run", "status", "reason", "batch_size", "recommended_batch_size", "certified")
    return {name: getattr(result, name) for name in names} | {"probes": len(result.probes)}


if __name__ == "__main__":
    raise SystemExit(main())
