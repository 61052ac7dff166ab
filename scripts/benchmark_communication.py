"""Time collectives and messages between the ranks of a communication run.

    python -m scripts.benchmark_communication --run run.json --output communication.json

The run's ranks are started here, each with a core or device of its own where there are enough. An
operation that a backend lacks, or a wrong result, is a row with its status and reason, not an
error; a rank that is killed from outside is one.
"""

import argparse
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from scripts.lib.devices.slots import claim
from scripts.lib.kinds.communication.config import CommunicationRun
from scripts.lib.kinds.communication.kind import Communication
from scripts.lib.kinds.communication.ranks import TIMES, measure_on_rank, unsupported
from scripts.lib.kinds.communication.result import CommunicationMetrics, CommunicationResult
from scripts.lib.results.files import write_text
from scripts.lib.results.result import Effective
from scripts.lib.runtime.launch import FAILURE_FILE, Failure, launch
from scripts.lib.runtime.program import new_parser, run_program
from scripts.lib.runtime.provenance import collect_provenance, now
from scripts.lib.schema.errors import InputError

log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """CLI entry point."""
    parser = new_parser("scripts.benchmark_communication", __doc__)
    parser.add_argument("--run", required=True, help="run.json of the run")
    parser.add_argument("--output", required=True, help="result file to write")
    parser.add_argument(
        "--as-rank", metavar="DEVICE", help="as a rank that was started here: measure on a device"
    )
    parser.add_argument("--init_method", default="env://", help="how the ranks meet")
    return run_program(parser, _execute, argv)


def _execute(arguments: argparse.Namespace) -> dict[str, Any] | None:
    run_id, run = Communication().load_run(arguments.run)
    if arguments.as_rank:
        return measure_on_rank(
            run, arguments.as_rank, arguments.init_method, Path(arguments.output)
        )
    started_at = now()
    device, ranks = Communication().devices(run.model_dump())
    measured = record = None
    with claim(device, ranks) as kind:
        reason = unsupported(run, kind)
        failure = Failure("unsupported", reason) if reason else None
        if failure is None:
            measured, failure, record = _measure(run, arguments.run, kind)
    metrics, effective = measured or (None, None)
    result = CommunicationResult(
        measurement_version=Communication.measurement_version,
        run=run_id,
        status=failure.status if failure else "ok",
        reason=failure.reason if failure else "",
        settings=run,
        effective=effective,
        metrics=metrics,
        provenance=collect_provenance(started_at, record, run.seed),
    )
    write_text(arguments.output, result.model_dump_json(indent=1) + "\n")
    return _summary(result)


def _measure(
    run: CommunicationRun, run_file: str, kind: str
) -> tuple[tuple[CommunicationMetrics, Effective] | None, Failure | None, Any]:
    """Start the ranks and summarise what they measured."""
    with TemporaryDirectory(prefix="communication-") as folder:
        options = ["--run", run_file, "--as-rank", kind, "--output", folder]
        failure = launch(
            options,
            run.ranks,
            lambda rank: Path(folder, FAILURE_FILE.format(rank)),
            module="scripts.benchmark_communication",
        )
        if failure and failure.status == "input":
            raise InputError(failure.reason)
        times = None if failure else json.loads(Path(folder, TIMES).read_text())
    from scripts.lib.devices.record import device_record
    from scripts.lib.kinds.communication.outcome import collect_metrics, wrong_reason
    from scripts.lib.runtime.torch_device import torch_device

    record = device_record(torch_device(kind))
    if failure:
        log.error("%s", failure.reason)
        return None, failure, record
    metrics = collect_metrics(run, times["messages"], times["backend"], times["pinned"])
    effective = Effective.model_validate(times["effective"])
    reason = wrong_reason(metrics)
    return (metrics, effective), Failure("failed", reason) if reason else None, record


def _summary(result: CommunicationResult) -> dict[str, Any]:
    summary = {"run": result.run, "status": result.status, "reason": result.reason}
    if result.metrics:
        names = ("latency_us", "max_message_bus_bandwidth_gb_per_s", "alpha_us")
        summary |= {name: getattr(result.metrics, name) for name in names}
    return summary


if __name__ == "__main__":
    raise SystemExit(main())
