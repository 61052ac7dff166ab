"""Find the largest batch size at which a run fits into memory.

    python -m scripts.find_batch_size --run run.json --tokens tokens.npy --output batch_size.json

Each size is tried in a process of its own with two full steps of the run. A run with a number as
its `batch_size` is not probed: that number is written.
"""

import argparse
import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

from scripts.lib.batch_size.probes import ProbeServer
from scripts.lib.batch_size.search import STRATEGIES, Outcome, Search, fit_line, recommend
from scripts.lib.config import load_run
from scripts.lib.config.batch_size import BatchSizeSearch
from scripts.lib.config.training import TrainingRun
from scripts.lib.devices.slots import claim
from scripts.lib.program import new_parser, run_program
from scripts.lib.provenance import collect_provenance, now
from scripts.lib.results.batch_size import MEASUREMENT_VERSION, BatchSizeResult, MemoryModel, Probe
from scripts.lib.results.files import write_text
from scripts.lib.tokens import check_tokens

log = logging.getLogger(__name__)
MIB = 1 << 20


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    parser = new_parser("scripts.find_batch_size", __doc__)
    parser.add_argument("--run", required=True, help="run.json of the run")
    parser.add_argument("--tokens", required=True, help="token ids, one-dimensional .npy")
    parser.add_argument("--output", required=True, help="result file to write")
    return run_program(parser, _execute, argv)


def _execute(arguments: argparse.Namespace) -> dict[str, Any]:
    run_id, run = load_run(arguments.run)
    started_at = now()
    found = _fixed(run) if run.batch_size != "auto" else _search(run, arguments.tokens)
    device = found.pop("device", None)
    result = BatchSizeResult(
        measurement_version=MEASUREMENT_VERSION,
        run=run_id,
        kind=run.kind,
        settings=run,
        provenance=collect_provenance(started_at, device, run.seed),
        **found,
    )
    write_text(arguments.output, result.model_dump_json(indent=1) + "\n")
    names = ("run", "status", "reason", "batch_size", "recommended_batch_size", "certified")
    return {name: getattr(result, name) for name in names} | {"probes": len(result.probes)}


def _fixed(run: TrainingRun) -> dict[str, Any]:
    size = run.batch_size
    return {
        "status": "ok",
        "batch_size": size,
        "recommended_batch_size": size,
        "upper_limit": size,
        "strategy": "fixed",
    }


def _search(run: TrainingRun, tokens: str) -> dict[str, Any]:
    settings = run.batch_size_search or BatchSizeSearch()
    check_tokens(tokens, run.vocab, run.context_length)
    with claim(run.device) as kind:
        server = ProbeServer(run, tokens, kind)
        device, budget_bytes, unsupported = server.describe()
        common = {
            "device": device,
            "upper_limit": settings.upper_limit,
            "strategy": settings.strategy,
            "margin": settings.margin,
            "budget_mib": budget_bytes / MIB,
            "budget_method": _budget_method(run, kind),
            "worst_case": {"context_length": run.context_length, "mode": run.mode, "steps": 2},
        }
        if unsupported:
            return {**common, "status": "unsupported", "reason": unsupported, "batch_size": None}
        probe = partial(server.probe, timeout_s=settings.probe_timeout_s)
        search = STRATEGIES[settings.strategy](probe, settings.upper_limit)
    return {
        **common,
        **_verdict(search, budget_bytes, settings.margin),
        "probes": [
            Probe(
                batch_size=size,
                outcome=outcome.outcome,
                peak_mib=_mib(outcome),
                seconds=round(server.seconds[size], 3),
                reason=outcome.reason,
            )
            for size, outcome in search.outcomes.items()
        ],
        "memory_model": _memory_model(search),
    }


def _verdict(search: Search, budget_bytes: float, margin: float) -> dict[str, Any]:
    if search.failure:
        reason = f"batch size {list(search.outcomes)[-1]}: {search.failure.reason}"
        return {"status": "failed", "reason": reason, "batch_size": None}
    if not search.largest:
        reason = f"batch size 1 does not fit: {search.outcomes[1].reason}"
        return {"status": "oom", "reason": reason, "batch_size": None, "certified": True}
    return {
        "status": "ok",
        "batch_size": search.largest,
        "recommended_batch_size": recommend(search, budget_bytes, margin),
        "certified": search.certified,
    }


def _budget_method(run: TrainingRun, kind: str) -> str:
    if kind == "cpu":
        return "living tensor storage" + ("" if run.memory_budget_mib else ", 80 % of the host")
    return "CUDA memory fraction" if run.memory_budget_mib else "CUDA device memory"


def _memory_model(search: Search) -> MemoryModel | None:
    line = fit_line(search.outcomes)
    if line is None:
        return None
    return MemoryModel(intercept_mib=line[0] / MIB, slope_mib=line[1] / MIB)


def _mib(outcome: Outcome) -> float | None:
    return None if outcome.peak_bytes is None else outcome.peak_bytes / MIB


if __name__ == "__main__":
    raise SystemExit(main())
