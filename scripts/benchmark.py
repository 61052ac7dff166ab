"""Measure one training run and write its result: the timed parts of its step.

    python -m scripts.benchmark --run run.json --tokens tokens.npy --output benchmark.json

`--batch-size`, a number or `batch_size.json`, is needed where the run says `batch_size: auto`. A
batch that does not fit, or something that the device cannot do, is a row with its status and
reason, not an error.
"""

import argparse
import logging
from collections.abc import Sequence
from typing import Any

from scripts.lib.batch_size.in_use import size_in_use
from scripts.lib.devices.slots import claim
from scripts.lib.kinds.training.config import TrainingRun
from scripts.lib.kinds.training.kind import Training
from scripts.lib.kinds.training.result import TrainingResult
from scripts.lib.results.files import write_text
from scripts.lib.results.result import Result
from scripts.lib.runtime.program import new_parser, run_program
from scripts.lib.runtime.provenance import collect_provenance, now
from scripts.lib.schema.errors import InputError

log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """CLI entry point."""
    parser = new_parser("scripts.benchmark", __doc__)
    parser.add_argument("--run", required=True, help="run.json of the run")
    parser.add_argument("--tokens", help="token ids of a training run, one-dimensional .npy")
    parser.add_argument("--batch-size", help="a number, or batch_size.json of the run")
    parser.add_argument("--output", required=True, help="result file to write")
    return run_program(parser, _execute, argv)


def _execute(arguments: argparse.Namespace) -> dict[str, Any]:
    run_id, run = Training().load_run(arguments.run)
    result = _measure_training(run_id, run, arguments)
    write_text(arguments.output, result.model_dump_json(indent=1) + "\n")
    return _summary(result)


def _measure_training(
    run_id: str, run: TrainingRun, arguments: argparse.Namespace
) -> TrainingResult:
    if arguments.tokens is None:
        raise InputError("--tokens: required for a training run")
    started_at = now()
    in_use = size_in_use(arguments.batch_size, run.batch_size, run.kind)
    status, reason = in_use.status, in_use.reason
    measured = device = None
    if (batch_size := in_use.size) is not None:
        # The lock names the device to use, so torch is imported after it.
        with claim(run.device) as kind:
            from scripts.lib.devices.record import device_record
            from scripts.lib.kinds.training.measure import measure
            from scripts.lib.runtime.torch_device import torch_device

            target = torch_device(kind)
            device = device_record(target)
            log.info("%s: batch size %d on %s", run_id, batch_size, device.name)
            measured, status, reason = measure(run, batch_size, arguments.tokens, target)
    metrics, effective = measured or (None, None)
    return TrainingResult(
        measurement_version=Training.measurement_version,
        run=run_id,
        status=status,
        reason=reason,
        settings=run,
        effective=effective,
        metrics=metrics,
        provenance=collect_provenance(started_at, device, run.seed),
    )


def _summary(result: Result) -> dict[str, Any]:
    summary = {"run": result.run, "status": result.status, "reason": result.reason}
    if result.metrics:
        summary["batch_size"] = result.effective.batch_size
        names = ("median_step_time_ms", "tokens_per_s", "peak_memory_mib")
        summary |= {name: getattr(result.metrics, name) for name in names}
    return summary


if __name__ == "__main__":
    raise SystemExit(main())
