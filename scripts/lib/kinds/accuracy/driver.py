"""Answer the samples of an accuracy run on its ranks, and put their shares together."""

import json
import logging
import os
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.lib.batch_size.in_use import size_in_use
from scripts.lib.devices.slots import claim, resolve_device
from scripts.lib.kinds.accuracy.checkpoint import checkpoint_of
from scripts.lib.kinds.accuracy.config import AccuracyRun
from scripts.lib.kinds.accuracy.kind import Accuracy
from scripts.lib.kinds.accuracy.result import (
    MEASUREMENT_VERSION,
    AccuracyMetrics,
    AccuracyResult,
    ImportanceResult,
)
from scripts.lib.kinds.accuracy.shards import (
    clear_lines,
    done_ids,
    open_lines,
    read_lines,
    share_of,
)
from scripts.lib.results.files import write_text
from scripts.lib.results.result import Effective
from scripts.lib.runtime.launch import FAILURE_FILE, Failure, launch, write_failure
from scripts.lib.runtime.provenance import collect_provenance, now
from scripts.lib.runtime.ranks import Ranks, joined_ranks
from scripts.lib.schema.errors import InputError
from scripts.lib.sweeps.identity import identity_of

log = logging.getLogger(__name__)
# Sent to peers in place of the reason, so it is printed once.
SAID = "its own output says why"


class RankFailed(OSError):
    """This rank failed under torchrun; the text is the reason, which the program shows."""


@dataclass(frozen=True)
class Call:
    """What a call of the program says, each a path or text of the command line.

    `checkpoint` is the folder of the embedded model or its training.json, `lines` the folder of
    finished batches, `batch_size` a number or a `batch_size.json`.
    """

    run: str
    output: str
    batch_size: str | None = None
    checkpoint: str | None = None
    importance: str | None = None
    lines: str | None = None

    @property
    def folder(self) -> Path:
        """Folder of finished batches."""
        return Path(self.lines or Path(self.output).parent / "accuracy")


def measure_run(call: Call) -> dict[str, Any]:
    """Measure a run, here or under torchrun, and write its result; returns a summary.

    Raises InputError, and RankFailed under torchrun where this rank fails.
    """
    run_id, run = Accuracy().load_run(call.run)
    started_at = now()
    size, failure = _batch_size(run, call.batch_size)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        run = run.model_copy(update={"ranks": int(os.environ["WORLD_SIZE"])})
        with joined_ranks() as ranks:
            try:
                return _under_torchrun(run_id, run, call, size, failure, started_at, ranks)
            except InputError:
                ranks.leave(SAID)
                raise
    with claim(run.device, run.ranks) as held:
        measured = None
        if failure is None:
            measured, failure = _measure(run, call, size, held)
        return _write(run_id, run, call, measured, failure, started_at, held)


def _measure(
    run: AccuracyRun, call: Call, size: int, held: str
) -> tuple[tuple[AccuracyMetrics, Effective] | None, Failure | None]:
    """Answer all samples on the ranks of the run, and put their shares together."""
    point, samples, identity = _prepare(run, call, size)
    if run.ranks == 1:
        failure = _guarded(point, 0, 1, held)
    else:
        options = [*_options(call), "--share-only", held]
        failure = launch(
            options, run.ranks, lambda rank: point.folder / FAILURE_FILE.format(rank),
            module="scripts.accuracy", meet=False,
        )  # fmt: skip
        if failure and failure.status == "input":
            raise InputError(failure.reason)
    if failure:
        log.error("%s", failure.reason)
        return None, failure
    return _collected(point, samples, run.ranks, identity), None


def _under_torchrun(
    run_id: str, run: AccuracyRun, call: Call, size: int,
    failure: Failure | None, started_at: str, ranks: Ranks,
) -> dict[str, Any]:  # fmt: skip
    held = resolve_device(run.device, _local_ranks())
    prepared = None
    if failure is None:
        if ranks.rank == 0:
            prepared = _prepare(run, call, size)
        ranks.gather("prepared")
        point = prepared[0] if prepared else _point(run, call, size)
        failure = _guarded(point, ranks.rank, ranks.size, held)
        if failure and failure.status != "unsupported":
            _end_all(run_id, run, call, failure, started_at, held, ranks)
        # What is unsupported is so on all ranks, before the first batch.
        told = ranks.gather([failure.status, failure.reason] if failure else None)
        failure = next((Failure(*word) for word in told if word), None)
    if ranks.rank:
        return {"run": run_id, "rank": ranks.rank}
    metrics = None
    if failure is None:
        metrics = _collected(*prepared[:2], ranks.size, prepared[2])
    return _write(run_id, run, call, metrics, failure, started_at, held)


def _end_all(
    run_id: str, run: AccuracyRun, call: Call, failure: Failure,
    started_at: str, held: str, ranks: Ranks,
) -> None:  # fmt: skip
    """Write the row of a run that failed on this rank, and raise RankFailed, so that torchrun acts.

    torchrun ends the other ranks when one has ended with an error; waiting for them here would
    take as long as their whole shares.
    """
    failure = Failure(failure.status, f"rank {ranks.rank}: {failure.reason}")
    _write(run_id, run, call, None, failure, started_at, held)
    ranks.leave(SAID)
    raise RankFailed(failure.reason)


def answer_share(call: Call, held: str) -> dict[str, Any]:
    """Answer the share of a rank that `launch` started on a device of the kind `held`.

    A failure is written to a file for the program that started the ranks.
    """
    _, run = Accuracy().load_run(call.run)
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    size, _ = _batch_size(run, call.batch_size)
    point = _point(run, call, size)
    failure_path = point.folder / FAILURE_FILE.format(rank)
    try:
        failure = _guarded(point, rank, world, held)
    except InputError as error:
        write_failure(failure_path, rank, "input", str(error))
        raise SystemExit(2) from None
    if failure:
        write_failure(failure_path, rank, failure.status, failure.reason)
        raise SystemExit(1)
    return {"rank": rank}


def _guarded(point: Any, rank: int, world: int, held: str) -> Failure | None:
    """Answer a share; what belongs to the measurement comes back as a failure with its status."""
    import torch

    from scripts.lib.kinds.accuracy.points import evaluate_share
    from scripts.lib.runtime.outcomes import Unsupported, classify, reason_of

    local = int(os.environ.get("LOCAL_RANK", "0"))
    device = torch.device("cuda", local) if held == "cuda" else torch.device("cpu")
    try:
        evaluate_share(point, rank, world, device)
    except InputError:
        raise
    except Unsupported as error:
        return Failure("unsupported", str(error))
    except Exception as error:
        status = classify(error)
        if status == "failed":
            log.error("%s", traceback.format_exc())
        return Failure(status, reason_of(error))
    return None


def _prepare(run: AccuracyRun, call: Call, size: int) -> tuple[Any, Any, str]:
    """Prepare the folder of lines: what is left to do, for all ranks."""
    from scripts.lib.kinds.accuracy.data import read_samples
    from scripts.lib.kinds.accuracy.loading import identity_of
    from scripts.lib.kinds.accuracy.points import TODO

    point = _point(run, call, size)
    identity, samples = identity_of(run, point.checkpoint), read_samples(run)
    open_lines(point.folder, _fingerprint(point, samples, identity))
    done = done_ids(read_lines(point.folder))
    if done:
        log.info("continuing: %d of %d samples are done", len(done), len(samples))
    write_text(point.folder / TODO, json.dumps(share_of(samples.ids, done, 0, 1)))
    return point, samples, identity


def _fingerprint(point: Any, samples: Any, identity: str) -> str:
    """Text that changes with all that decides answers and scores: then old ones are dropped."""
    from scripts.lib.kinds.accuracy.files import digests_of

    settings = point.run.model_dump(
        mode="json", exclude={"ranks", "batch_size", "batch_size_search", "device"}
    )
    settings = identity_of(AccuracyRun, settings)
    files = point.run.dataset.data_files
    data = digests_of(files) if files else samples.fingerprint
    told = [MEASUREMENT_VERSION, settings, identity, data, point.ranking]
    return json.dumps(told, sort_keys=True)


def _point(run: AccuracyRun, call: Call, size: int) -> Any:
    from scripts.lib.kinds.accuracy.points import Point

    return Point(
        run, checkpoint_of(run, call.checkpoint), _ranking(run, call.importance),
        call.folder, size,
    )  # fmt: skip


def _collected(
    point: Any, samples: Any, world: int, identity: str
) -> tuple[AccuracyMetrics, Effective]:
    from scripts.lib.kinds.accuracy.points import collect, effective_of

    return collect(point, samples, world, identity), effective_of(point, world)


def _ranking(run: AccuracyRun, path: str | None) -> list[int]:
    if run.block_selection != "importance":
        return []
    if path is None:
        raise InputError("--importance: required, because the run selects blocks by importance")
    try:
        return ImportanceResult.model_validate_json(Path(path).read_bytes()).ranking
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError:
        raise InputError(f"{path}: is no importance.json; delete it and run again") from None


def _batch_size(run: AccuracyRun, given: str | None) -> tuple[int, Failure | None]:
    """The batch to begin with, or why there is none."""
    in_use = size_in_use(given, run.batch_size, run.kind)
    if in_use.size is None:
        return 0, Failure(in_use.status, in_use.reason)
    return in_use.size, None


def _options(call: Call) -> list[str]:
    names = ("run", "batch_size", "checkpoint", "importance", "lines", "output")
    given = ((name.replace("_", "-"), getattr(call, name)) for name in names)
    # In one word: a path may begin with a dash.
    return [f"--{name}={value}" for name, value in given if value]


def _local_ranks() -> int:
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def _write(
    run_id: str, run: AccuracyRun, call: Call,
    measured: tuple[AccuracyMetrics, Effective] | None, failure: Failure | None, started_at: str,
    held: str,
) -> dict[str, Any]:  # fmt: skip
    from scripts.lib.devices.record import device_record
    from scripts.lib.runtime.torch_device import torch_device

    metrics, effective = measured or (None, None)
    result = AccuracyResult(
        measurement_version=MEASUREMENT_VERSION,
        run=run_id,
        status=failure.status if failure else "ok",
        reason=failure.reason if failure else "",
        settings=run,
        effective=effective,
        metrics=metrics,
        provenance=collect_provenance(started_at, device_record(torch_device(held)), run.seed),
    )
    write_text(call.output, result.model_dump_json(indent=1) + "\n")
    if metrics:
        # The result holds every answer now; lines that stayed would answer for another call.
        clear_lines(call.folder)
    told = {"run": run_id, "status": result.status, "reason": result.reason}
    if metrics:
        names = (
            "accuracy", "accuracy_ci_low", "accuracy_ci_high", "samples_evaluated", "duration_s",
        )  # fmt: skip
        told |= {name: getattr(metrics, name) for name in names}
        told["batch_size"] = effective.batch_size
    return told
