"""Train the modes of a data-parallel run side by side on its ranks, and write what came out.

    python -m scripts.benchmark_ddp --run run.json --text DIR/meta.json --output ddp.json

`--batch-size`, a number or `batch_size.json`, is needed where the run says `max_local_batch: auto`.
The ranks are `python -m scripts.train_ddp`; each mode and seed has its run directory in
`--run-dir`, from whose checkpoint an interrupted call continues. A step that memory has no room for
is a row with its status and reason, not an error.
"""

import argparse
import json
import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from scripts.lib.batch_size.in_use import size_in_use
from scripts.lib.devices.slots import claim
from scripts.lib.kinds.ddp.config import DdpRun, without_room
from scripts.lib.kinds.ddp.kind import Ddp
from scripts.lib.kinds.ddp.result import MEASUREMENT_VERSION, DdpMetrics, DdpResult
from scripts.lib.results.files import write_text
from scripts.lib.results.result import Effective
from scripts.lib.runtime.launch import FAILURE_FILE, Failure, launch
from scripts.lib.runtime.program import new_parser, run_program
from scripts.lib.runtime.provenance import collect_provenance, now
from scripts.lib.schema.errors import InputError

log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """CLI entry point."""
    parser = new_parser("scripts.benchmark_ddp", __doc__)
    parser.add_argument("--run", required=True, help="run.json of the run")
    parser.add_argument("--text", required=True, help="meta.json of the tokenised text")
    parser.add_argument("--batch-size", help="a number, or batch_size.json of the run")
    parser.add_argument("--run-dir", help="folder of the run directories; `ddp` beside the output")
    parser.add_argument("--output", required=True, help="result file to write")
    return run_program(parser, _execute, argv)


def _execute(arguments: argparse.Namespace) -> dict[str, Any]:
    run_id, run = Ddp().load_run(arguments.run)
    started_at = now()
    largest, max_tokens, failure = _room(run, arguments.batch_size)
    measured = device = None
    if failure is None and (reason := without_room(run, largest)):
        failure = Failure("oom", reason)
    if failure is None:
        with claim(run.device, run.ranks) as held:
            measured, device, failure = _measure(run, arguments, largest, max_tokens, held)
    metrics, effective = measured or (None, None)
    result = DdpResult(
        measurement_version=MEASUREMENT_VERSION,
        run=run_id,
        status=failure.status if failure else "ok",
        reason=failure.reason if failure else "",
        settings=run,
        effective=effective,
        metrics=metrics,
        provenance=collect_provenance(started_at, device, run.seed),
    )
    write_text(arguments.output, result.model_dump_json(indent=1) + "\n")
    return _summary(result)


def _measure(
    run: DdpRun,
    arguments: argparse.Namespace,
    largest: int | None,
    max_tokens: int | None,
    held: str,
) -> tuple[tuple[DdpMetrics, Effective | None] | None, Any, Failure | None]:
    from scripts.lib.kinds.ddp.cache import open_text

    open_text(Path(arguments.text).parent)
    folder = Path(arguments.run_dir or Path(arguments.output).parent / "ddp").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    options = ["--run", arguments.run, "--text", str(Path(arguments.text).parent)]
    options += ["--output_dir", str(folder), "--device", held]
    if max_tokens is not None:
        options += ["--max_tokens", str(max_tokens)]
    failure = launch(
        options, run.ranks, lambda rank: folder / FAILURE_FILE.format(rank), "scripts.train_ddp"
    )
    if failure and failure.status == "input":
        raise InputError(failure.reason)
    if failure:
        log.error("%s", failure.reason)
    from scripts.lib.devices.record import device_record
    from scripts.lib.runtime.torch_device import torch_device

    device = device_record(torch_device(held))
    if failure:
        return None, device, failure
    return _collect(run, folder, held, largest), device, None


def _collect(
    run: DdpRun, folder: Path, held: str, largest: int | None
) -> tuple[DdpMetrics, Effective | None]:
    from scripts.lib.kinds.ddp.engine import COST
    from scripts.lib.kinds.ddp.outcome import collect_metrics
    from scripts.lib.kinds.ddp.records import read_effective
    from scripts.lib.runtime.processes import available_cores

    coefficients = None
    if run.cost_type == "fitted":
        with suppress(OSError, ValueError):
            coefficients = json.loads((folder / COST).read_text())
    pinned = held == "cpu" and run.ranks <= available_cores()
    warnings = []
    if held == "cpu" and not pinned:
        warnings.append(
            f"{run.ranks} ranks share {available_cores()} cores: waiting ranks lend theirs, so "
            "wall time hides imbalance; compare processor times"
        )
    metrics = collect_metrics(
        run, lambda mode, seed: folder / mode / f"seed{seed}",
        backend="nccl" if held == "cuda" else "gloo", pinned=pinned,
        largest_local_batch=largest, cost_coefficients=coefficients, warnings=warnings,
    )  # fmt: skip
    return metrics, read_effective(folder / run.modes[0] / f"seed{run.seeds[0]}")


def _room(run: DdpRun, given: str | None) -> tuple[int | None, int | None, Failure | None]:
    """Samples of the greatest length, and padded tokens, that fit on each rank, or why none do."""
    in_use = size_in_use(given, run.max_local_batch, run.kind, "max_local_batch")
    if in_use.status != "ok":
        return None, None, Failure(in_use.status, in_use.reason)
    if in_use.search:
        return in_use.size, in_use.search.padded_tokens(run.max_length), None
    return in_use.size, in_use.size and in_use.size * run.max_length, None


def _summary(result: DdpResult) -> dict[str, Any]:
    summary = {"run": result.run, "status": result.status, "reason": result.reason}
    for mode in result.settings.modes if result.metrics else ():
        metrics = result.metrics.mode(mode)
        summary[mode] = {"mean_step_time_ms": metrics.mean_step_time_ms, "gain": metrics.gain}
    return summary


if __name__ == "__main__":
    raise SystemExit(main())
