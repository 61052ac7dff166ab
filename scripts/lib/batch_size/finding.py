"""Find the largest batch of a task: budget, neighbour, search, verdict, and what it leaves."""

import logging
from dataclasses import asdict
from typing import Any

from scripts.lib.batch_size.agreement import agree
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
from scripts.lib.batch_size.result import MemoryModel, Neighbour, Probe, Timing
from scripts.lib.batch_size.search import Outcome, Search, Strategy, find_largest
from scripts.lib.batch_size.strategies import estimate, gallop
from scripts.lib.batch_size.task import Description, Task
from scripts.lib.devices.record import HOST_SHARE
from scripts.lib.devices.units import MIB
from scripts.lib.runtime.ranks import Ranks
from scripts.lib.sweeps.batch_size import BatchSizeSearch, ScaleFactors

log = logging.getLogger(__name__)


def find_batch_size(
    task: Task,
    ranks: Ranks,
    neighbour_file: str | None = None,
    neighbours_dir: str | None = None,
) -> dict[str, Any]:
    """Search for the largest batch of a task on all `ranks`; returns fields of BatchSizeResult.

    A guided search begins from the line of memory in `neighbour_file`, or of the nearest finished
    run of the family below `neighbours_dir`. Raises InputError for a `neighbour_file` without one.
    """
    settings, probing = task.settings, task.probing
    server = ProbeServer(task)
    description = server.describe()
    budget, unsupported = _common_budget(description, ranks)
    common = _circumstances(task, description, budget, ranks)
    if unsupported:
        return {**common, "status": "unsupported", "reason": unsupported, "batch_size": None}
    neighbour = _neighbour(task, description.budget_method, neighbour_file, neighbours_dir, ranks)
    factors = settings.scale_factors or ScaleFactors()
    start = factors.start(probing.scale_values(task.run), settings.upper_limit)

    def probe(batch_size: int) -> Outcome:
        outcome = server.probe(batch_size, budget, description.budget_method)
        answers = ranks.gather([batch_size, asdict(outcome)])
        return agree([size for size, _ in answers], [Outcome(**told) for _, told in answers])

    label = probing.label(task.run)
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
    settings = task.settings
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
        "worst_case": task.probing.worst_case(task.run, task.data),
    }


def _neighbour(
    task: Task, budget_method: str, file: str | None, folder: str | None, ranks: Ranks
) -> Neighbour | None:
    """Neighbour to start from, rank 0's for all: the ranks must probe the same sizes."""
    neighbour = None
    if task.settings.strategy == "guided":
        if file:
            neighbour = read_neighbour(file, task.run, task.probing)
        elif folder:
            neighbour = nearest_neighbour(folder, task.run, task.probing, budget_method)
    first = ranks.gather(neighbour.model_dump() if neighbour else None)[0]
    return Neighbour(**first) if first else None


def _strategy(settings: BatchSizeSearch, start: int, neighbour: Neighbour | None) -> Strategy:
    if settings.strategy == "guided":
        return Guided(line_of(neighbour))
    return gallop if settings.strategy == "gallop" else estimate(start, settings.max_attempts)


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
            peak_memory_mib=_mib(attempt.outcome),
            duration_s=round(took, 3),
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
