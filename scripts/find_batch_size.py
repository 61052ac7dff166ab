"""Find the largest batch size at which a run fits into memory.

    python -m scripts.find_batch_size --run run.json --tokens tokens.npy --output batch_size.json

Each size is tried in a process of its own with the worst case of the run. A run with a number as
its `batch_size`, or with `auto_adjust_batch_size: false`, is not probed: its size is written. Under
torchrun all ranks probe together, and rank 0 writes the result.
"""

import argparse
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from scripts.lib.batch_size.choices import (
    knee,
    knee_sizes,
    memory_line,
    recommend,
    settle_recommendation,
)
from scripts.lib.batch_size.guided import Guided
from scripts.lib.batch_size.memory_line import Line
from scripts.lib.batch_size.narration import narrated
from scripts.lib.batch_size.neighbours import line_of, nearest_neighbour, read_neighbour
from scripts.lib.batch_size.probes import ProbeServer
from scripts.lib.batch_size.ranks import Ranks, agree, joined_ranks
from scripts.lib.batch_size.search import Outcome, Search, Strategy, find_largest
from scripts.lib.batch_size.strategies import estimate, gallop
from scripts.lib.batch_size.task import LOOKED_AT, Description, Task
from scripts.lib.config import load_run
from scripts.lib.config.accuracy import AccuracyRun
from scripts.lib.config.accuracy_measurement import EMBEDDED
from scripts.lib.config.batch_size import BatchSizeSearch, ScaleFactors
from scripts.lib.config.ddp import DdpRun
from scripts.lib.config.training import TrainingRun
from scripts.lib.ddp.cache import open_text
from scripts.lib.devices.record import HOST_SHARE
from scripts.lib.devices.slots import claim, resolve_device
from scripts.lib.program import new_parser, run_program
from scripts.lib.provenance import collect_provenance, now
from scripts.lib.results.batch_size import (
    MEASUREMENT_VERSION,
    BatchSizeResult,
    MemoryModel,
    Neighbour,
    Probe,
    Timing,
)
from scripts.lib.results.files import write_text
from scripts.lib.schema.errors import InputError
from scripts.lib.tokens import check_tokens, write_embedded_tokens
from scripts.lib.units import MIB

log = logging.getLogger(__name__)
Run = TrainingRun | DdpRun | AccuracyRun


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    parser = new_parser("scripts.find_batch_size", __doc__)
    parser.add_argument("--run", required=True, help="run.json of the run")
    parser.add_argument(
        "--tokens",
        help="token ids (.npy), the run's or embedded ones unless given; of a ddp run meta.json "
        "of its text, of an accuracy run training.json of the embedded model",
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
    if not isinstance(run, Run) or run.batch_size is None:
        raise InputError(f"{arguments.run}: has no batch size to find: kind {run.kind}")
    run = _overridden(run, arguments)
    started_at = now()
    if run.batch_size != "auto" or not _settings(run).auto_adjust_batch_size:
        return _write(run_id, run, started_at, arguments.output, _fixed(run))
    if arguments.neighbour and _settings(run).strategy != "guided":
        raise InputError(f"--neighbour: needs strategy guided, not {_settings(run).strategy}")
    with _data(run, arguments.tokens) as tokens, joined_ranks() as ranks:
        with _device(run) as kind:
            found = _search(Task(run, tokens, kind), ranks, arguments)
        if ranks.rank == 0:
            return _write(run_id, run, started_at, arguments.output, found)
    return {"run": run_id, "rank": ranks.rank, "batch_size": found["batch_size"]}


@contextmanager
def _data(run: Run, path: str | None) -> Iterator[str]:
    """Yield what the run is fed from: `path`, or else its own or the embedded tokens.

    Raises InputError unless it can be.
    """
    with TemporaryDirectory() as folder:
        if isinstance(run, TrainingRun):
            path = path or run.data_path
            if not path:
                path = f"{folder}/tokens.npy"
                write_embedded_tokens(path, run.vocab)
            check_tokens(path, run.vocab, run.context_length)
        elif isinstance(run, DdpRun):
            if not path:
                raise InputError("--tokens: must be the meta.json that scripts.prepare_text writes")
            open_text(Path(path).parent)
        elif run.model == EMBEDDED and not path:
            raise InputError("--tokens: must be the training.json of the embedded model")
        yield path or ""


def _overridden(run: Run, arguments: argparse.Namespace) -> Run:
    """Return the run with what the command line says in its place."""
    changes: dict[str, Any] = {}
    if arguments.memory_budget_mib is not None:
        if arguments.memory_budget_mib <= 0:
            raise InputError("--memory-budget-mib: must be above 0")
        changes["memory_budget_mib"] = arguments.memory_budget_mib
    if arguments.strategy:
        search = _settings(run).model_copy(update={"strategy": arguments.strategy})
        changes["batch_size_search"] = search
    return run.model_copy(update=changes)


def _settings(run: Run) -> BatchSizeSearch:
    return run.batch_size_search or BatchSizeSearch()


def _fixed(run: Run) -> dict[str, Any]:
    size = _settings(run).upper_limit if run.batch_size == "auto" else run.batch_size
    return {
        "status": "ok",
        "batch_size": size,
        "recommended_batch_size": size,
        "upper_limit": size,
        "strategy": "fixed",
    }


@contextmanager
def _device(run: Run) -> Iterator[str]:
    """Hold the device of this rank, of the kind that all ranks of the run find.

    Ranks on the CPU of one host share it by its first one.
    """
    started = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    kind = resolve_device(run.device, max(started, getattr(run, "ranks", 1)))
    if kind == "cpu" and int(os.environ.get("LOCAL_RANK", "0")):
        yield "cpu"
    else:
        with claim(kind) as held:
            yield held


def _search(task: Task, ranks: Ranks, arguments: argparse.Namespace) -> dict[str, Any]:
    settings = task.settings
    server = ProbeServer(task)
    description = server.describe()
    budget, unsupported = _common_budget(description, ranks)
    common = _circumstances(task, description, budget, ranks)
    if unsupported:
        return {**common, "status": "unsupported", "reason": unsupported, "batch_size": None}
    neighbour = _neighbour(task.run, description.budget_method, arguments, ranks)
    values = task.run.model_dump() | {"total_blocks": getattr(task.run, "total_blocks", None)}
    start = (settings.scale_factors or ScaleFactors()).start(values, settings.upper_limit)

    def probe(batch_size: int) -> Outcome:
        outcome = server.probe(batch_size, budget, description.budget_method)
        answers = ranks.gather([batch_size, asdict(outcome)])
        return agree([size for size, _ in answers], [Outcome(**told) for _, told in answers])

    label = _label(task.run)
    _announce(label, settings, budget, start, neighbour)
    search = Search(
        narrated(probe, label), settings.upper_limit, settings.lower_limit, budget_bytes=budget
    )
    find_largest(search, _strategy(settings, start, neighbour), settings.repeat)
    verdict = _verdict(search, settings, budget, line_of(neighbour))
    if verdict["status"] == "oom":
        verdict |= _missing(server, settings.lower_limit, budget, description, ranks)
    timings = _timings(server, search, ranks) if settings.knee and verdict["batch_size"] else {}
    return {
        **common,
        **verdict,
        "start": start if settings.strategy == "estimate" else None,
        "neighbour": neighbour,
        "probes": _probes(search, server.seconds),
        "memory_model": _memory_model(search, line_of(neighbour)),
        "knee_batch_size": knee(timings) if timings else None,
        "timings": [Timing(batch_size=b, samples_per_s=rate) for b, rate in timings.items()],
    }


def _common_budget(description: Description, ranks: Ranks) -> tuple[float, str]:
    """Smallest budget of all ranks in bytes, and why one of them cannot do what is asked for."""
    told = ranks.gather([description.budget_bytes, description.unsupported])
    return min(budget for budget, _ in told), next((why for _, why in told if why), "")


def _circumstances(
    task: Task, description: Description, budget_bytes: float, ranks: Ranks
) -> dict[str, Any]:
    run, settings = task.run, task.settings
    worst_case: dict[str, Any] = {
        "workload": settings.workload,
        "context_length": run.context_length,
    }
    if isinstance(run, AccuracyRun):
        worst_case = {"workload": "generate", "max_new_tokens": run.max_new_tokens}
        worst_case["longest_prompt_of"] = min(LOOKED_AT, run.num_samples)
    elif settings.workload == "generate":
        worst_case["max_new_tokens"] = settings.max_new_tokens
    else:
        worst_case |= {"mode": run.mode, "steps": 2}
    if isinstance(run, DdpRun):
        longest = open_text(Path(task.tokens).parent).longest(run.max_length)
        worst_case |= {"context_length": longest, "models": len(run.modes)}
    return {
        "device": description.device,
        "lower_limit": settings.lower_limit,
        "upper_limit": settings.upper_limit,
        "strategy": settings.strategy,
        "margin": settings.margin,
        "margin_mib": settings.margin_mib,
        "budget_mib": budget_bytes / MIB,
        "budget_method": description.budget_method,
        "ranks": ranks.size,
        "worst_case": worst_case,
    }


def _neighbour(
    run: Run, budget_method: str, arguments: argparse.Namespace, ranks: Ranks
) -> Neighbour | None:
    """Neighbour to start from, rank 0's for all: the ranks must probe the same sizes."""
    neighbour = None
    if _settings(run).strategy == "guided":
        if arguments.neighbour:
            neighbour = read_neighbour(arguments.neighbour, run)
        elif arguments.neighbours:
            neighbour = nearest_neighbour(arguments.neighbours, run, budget_method)
    first = ranks.gather(neighbour.model_dump() if neighbour else None)[0]
    return Neighbour(**first) if first else None


def _strategy(settings: BatchSizeSearch, start: int, neighbour: Neighbour | None) -> Strategy:
    if settings.strategy == "guided":
        return Guided(line_of(neighbour))
    return gallop if settings.strategy == "gallop" else estimate(start, settings.max_attempts)


def _label(run: Run) -> str:
    if not isinstance(run, AccuracyRun):
        return f"{run.model_size} context_length={run.context_length}"
    return f"{run.model} {run.point}".strip()


def _announce(
    label: str, settings: BatchSizeSearch, budget: float, start: int, neighbour: Neighbour | None
) -> None:
    how = settings.strategy
    if settings.strategy == "estimate":
        how = f"estimated: {start}, starting with: {max(start, settings.lower_limit)}"
    elif neighbour:
        how += f", from the line of {neighbour.run}"
    log.info("Finding optimal batch size for %s (%s; %.1f MiB)...", label, how, budget / MIB)


def _verdict(
    search: Search, settings: BatchSizeSearch, budget_bytes: float, line: Line | None
) -> dict[str, Any]:
    recommended = None
    if search.found and not search.failure:
        # A probe of the recommended size may fail, too, so the verdict comes after it.
        allowed = settings.allowed_mib(budget_bytes / MIB) * MIB
        choose = settle_recommendation if settings.use == "recommended" else recommend
        recommended = choose(search, allowed, line)
    if search.failure:
        failed = search.failure
        if failed.outcome.outcome == "unsupported":  # at no size, so none is named
            return {"status": "unsupported", "reason": failed.outcome.reason, "batch_size": None}
        reason = f"batch size {failed.batch_size}: {failed.outcome.reason}"
        return {"status": "failed", "reason": reason, "batch_size": None}
    if search.found is None:
        last = next(a for a in search.attempts[::-1] if a.batch_size == search.failing)
        reason = f"batch size {last.batch_size} does not fit: {last.outcome.reason}"
        certified = search.certified
        return {"status": "oom", "reason": reason, "batch_size": None, "certified": certified}
    log.info(
        "Using batch size: %d (%s; %d with the margin)",
        search.found, "certified" if search.certified else "not certified", recommended,
    )  # fmt: skip
    return {
        "status": "ok",
        "batch_size": search.found,
        "recommended_batch_size": recommended,
        "certified": search.certified,
    }


def _missing(
    server: ProbeServer, batch_size: int, budget_bytes: float, described: Description, ranks: Ranks
) -> dict[str, Any]:
    """How much memory a size that does not fit lacks, where the device has more than the budget."""
    whole = HOST_SHARE * described.device.memory_mib * MIB
    if min(ranks.gather(whole)) <= budget_bytes:
        return {}
    peak = server.measure(batch_size, whole, described.budget_method).peak_bytes
    peaks = ranks.gather(peak)
    if None in peaks:
        return {}
    missing = (max(peaks) - budget_bytes) / MIB
    reason = f"batch size {batch_size} does not fit: {missing:.1f} MiB are missing"
    return {"missing_mib": missing, "reason": reason}


def _timings(server: ProbeServer, search: Search, ranks: Ranks) -> dict[int, float]:
    """Samples per second by batch size, of the slowest rank."""
    timings = {}
    for size in knee_sizes(search.found):
        if size >= search.lower_limit:
            rates = ranks.gather(_rate(server, size))
            if None in rates:  # what the search found stands all the same
                return {}
            timings[size] = min(rates)
            log.info("Batch size %d: %.1f samples/s", size, timings[size])
    return timings


def _rate(server: ProbeServer, batch_size: int) -> float | None:
    """Samples per second, or None, with a line that says why, where that cannot be timed."""
    try:
        return server.throughput(batch_size)
    except RuntimeError as error:
        log.warning("no knee: batch size %d cannot be timed: %s", batch_size, error)
        return None


def _probes(search: Search, seconds: list[float]) -> list[Probe]:
    return [
        Probe(
            batch_size=attempt.batch_size,
            outcome=attempt.outcome.outcome,
            peak_mib=_mib(attempt.outcome),
            seconds=round(took, 3),
            reason=attempt.outcome.reason,
        )
        for attempt, took in zip(search.attempts, seconds, strict=True)
    ]


def _memory_model(search: Search, neighbours: Line | None) -> MemoryModel | None:
    line = memory_line(search, neighbours)
    if line is None:
        return None
    return MemoryModel(intercept_mib=line.intercept / MIB, slope_mib=line.slope / MIB)


def _mib(outcome: Outcome) -> float | None:
    return None if outcome.peak_bytes is None else outcome.peak_bytes / MIB


def _write(
    run_id: str, run: Run, started_at: str, output: str, found: dict[str, Any]
) -> dict[str, Any]:
    device = found.pop("device", None)
    result = BatchSizeResult(
        measurement_version=MEASUREMENT_VERSION,
        run=run_id,
        kind=run.kind,
        settings=run,
        provenance=collect_provenance(started_at, device, run.seed),
        **found,
    )
    write_text(output, result.model_dump_json(indent=1) + "\n")
    names = ("run", "status", "reason", "batch_size", "recommended_batch_size", "certified")
    return {name: getattr(result, name) for name in names} | {"probes": len(result.probes)}


if __name__ == "__main__":
    raise SystemExit(main())
