"""One point of an accuracy sweep: a rank's share of the samples, and what all shares come to."""

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scripts.lib.devices.units import MIB
from scripts.lib.kinds.accuracy.config import AccuracyRun
from scripts.lib.kinds.accuracy.data import Samples, read_samples
from scripts.lib.kinds.accuracy.evaluation import Evaluator, example_images, turned_knobs
from scripts.lib.kinds.accuracy.flops import Work, flops_per_sample, work_of
from scripts.lib.kinds.accuracy.loading import NUM_THREADS, PRECISIONS, Loaded, load
from scripts.lib.kinds.accuracy.result import AccuracyMetrics, ImportanceResult
from scripts.lib.kinds.accuracy.shards import append_line, read_lines, union
from scripts.lib.results.files import write_text
from scripts.lib.results.result import Effective
from scripts.lib.runtime.effective import dtype_name, effective_of_device
from scripts.lib.runtime.progress import progress
from scripts.lib.runtime.statistics import bootstrap_interval
from scripts.lib.runtime.torch_device import limit_memory
from scripts.lib.schema.errors import InputError

TODO = "todo.json"
REPORT = "report-rank{}.json"
STAGES = ("vision", "prefill", "decode")


@dataclass(frozen=True)
class Point:
    """A run, where its files are, and the batch it begins with."""

    run: AccuracyRun
    checkpoint: Path | None
    ranking: list[int]
    folder: Path
    batch_size: int


def evaluate_share(point: Point, rank: int, world: int, device: torch.device) -> None:
    """Answer a rank's share of what is left to do, and report what was in force.

    `todo.json` in the folder names the places that are left, the same for all ranks. Raises
    InputError, Unsupported, and torch's out-of-memory errors where not one sample fits.
    """
    run = point.run
    torch.set_num_threads(NUM_THREADS)
    limit_memory(run.memory_budget_mib, device)
    samples = read_samples(run)
    loaded = load(run, point.checkpoint, device)
    todo = json.loads((point.folder / TODO).read_text())[rank::world]
    with turned_knobs(run, loaded, samples[0], device, point.ranking):
        evaluator = Evaluator(run, loaded, samples, device, point.batch_size)
        evaluator.warm_up(todo or [0])
        with progress(f"samples of rank {rank}", len(todo)) as advance:
            for batch in evaluator.batches(todo):
                append_line(point.folder, rank, batch | {"rank": rank})
                advance(len(batch["samples"]))
        report = {
            "work": asdict(work_of(loaded)),
            **loaded.blocks.describe(),
            **loaded.top_k.describe(),
            "total_blocks": loaded.blocks.own,
            "experts_implementation": loaded.experts_implementation,
            "batch_size": evaluator.batch_size,
            "effective": _effective(loaded, device).model_dump(),
            "ooms": evaluator.ooms,
            "peak_memory_mib": evaluator.peak_bytes / MIB,
        }
    write_text(point.folder / REPORT.format(rank), json.dumps(report) + "\n")


def collect(point: Point, samples: Samples, world: int, identity: str) -> AccuracyMetrics:
    """Put the shares of all ranks together. Raises InputError unless each sample is there once."""
    reports = [json.loads((point.folder / REPORT.format(r)).read_text()) for r in range(world)]
    first, batches = reports[0], read_lines(point.folder)
    found = union(batches, samples.ids)
    scores = np.array([sample["score"] for sample in found])
    low, high = bootstrap_interval(scores)
    means = {
        name: float(np.mean([sample[name] for sample in found]))
        for name in ("crops", "vision_tokens", "prompt_tokens", "new_tokens")
    }
    work = Work(**first["work"])
    costs = [
        flops_per_sample(work, *(sample[name] for name in
            ("prompt_tokens", "new_tokens", "patches", "patches_per_image")))
        for sample in found
    ]  # fmt: skip
    duration = _slowest(batches)
    totals = [sum(batch[f"{stage}_ms"] for stage in STAGES) for batch in batches]
    sizes = [len(batch["samples"]) for batch in batches]
    std = float(scores.std(ddof=1)) if len(scores) > 1 else 0.0
    ooms = [oom for report in reports for oom in report["ooms"]]
    return AccuracyMetrics(
        accuracy=float(scores.mean()),
        std_score=std,
        accuracy_std_error=std / len(scores) ** 0.5,
        accuracy_ci_low=low,
        accuracy_ci_high=high,
        samples_evaluated=len(scores),
        actual_max_crops=max(sample["crops"] for sample in found),
        actual_top_k=first["top_k"],
        actual_num_active_blocks=first["num_active_blocks"],
        active_blocks=first["active_blocks"],
        num_experts=first["num_experts"],
        total_blocks=first["total_blocks"],
        **{f"mean_{name}": value for name, value in means.items()},
        num_parameters=work.parameters,
        num_active_parameters=work.num_active_parameters,
        flops_per_sample=float(np.mean(costs)),
        duration_s=duration,
        samples_per_s=len(scores) / duration,
        **{
            name: value
            for stage in STAGES
            for name, value in _latency(stage, [b[f"{stage}_ms"] for b in batches]).items()
        },
        **_latency("batch", totals),
        mean_latency_per_sample_ms=sum(totals) / sum(sizes),
        peak_memory_mib=max(report["peak_memory_mib"] for report in reports),
        input_digest=_digest(found),
        model_identity=identity,
        experts_implementation=first["experts_implementation"],
        oom_events=len(ooms),
        ooms=ooms,
        batches=[
            {"batch_size": size, **{f"{s}_ms": batch[f"{s}_ms"] for s in STAGES}}
            for size, batch in zip(sizes, batches, strict=True)
        ],
        samples=found,
        example_images=example_images(samples),
        warnings=_warnings(point, found),
    )


def measure_importance(
    run: AccuracyRun, checkpoint: Path | None, device: torch.device
) -> ImportanceResult:
    """Leave out each block in turn and rank them by the accuracy that is lost.

    On samples that no point is evaluated on, as far as the data has others.
    """
    start = time.perf_counter()
    torch.set_num_threads(NUM_THREADS)
    limit_memory(run.memory_budget_mib, device)
    samples = read_samples(run, run.importance.num_samples, held_out=True)
    loaded = load(run, checkpoint, device)
    size = run.batch_size if isinstance(run.batch_size, int) else 32
    plain = {"top_k": None, "max_crops": run.importance.max_crops, "block_selection": None}

    def accuracy(kept: Sequence[int]) -> float:
        count = len(kept)
        changed = plain | {"num_active_blocks": count, "block_selection": list(kept)}
        point = run.model_copy(update=changed)
        with turned_knobs(point, loaded, samples[0], device, ()):
            evaluator = Evaluator(point, loaded, samples, device, size)
            batches = evaluator.batches(range(len(samples)))
            scores = [s["score"] for batch in batches for s in batch["samples"]]
        return float(np.mean(scores))

    blocks = range(loaded.blocks.own)
    if len(blocks) == 1:
        raise InputError("block_selection: the model has one block, and none can be left out")
    with progress("blocks left out", len(blocks)) as advance:
        whole, without = accuracy(blocks), []
        for block in blocks:
            without.append(accuracy([number for number in blocks if number != block]))
            advance()
    return ImportanceResult(
        model=run.model,
        samples_evaluated=len(samples),
        metric=run.metric,
        accuracy=whole,
        accuracy_without=without,
        ranking=sorted(blocks, key=lambda block: (without[block], block)),
        duration_s=time.perf_counter() - start,
    )


def _slowest(batches: list[dict[str, Any]]) -> float:
    """Seconds of all batches of the rank that took longest."""
    seconds: dict[int, float] = {}
    for batch in batches:
        seconds[batch["rank"]] = seconds.get(batch["rank"], 0) + batch["seconds"]
    return max(seconds.values())


def _latency(stage: str, times: list[float]) -> dict[str, float]:
    """Return the columns of one stage over all batches, milliseconds a batch."""
    median, p95, p99 = (float(value) for value in np.percentile(times, [50, 95, 99]))
    found = {"mean": float(np.mean(times)), "median": median, "p95": p95, "p99": p99}
    return {f"{statistic}_{stage}_time_ms": value for statistic, value in found.items()}


def effective_of(point: Point, world: int) -> Effective:
    """Return what the ranks of a finished point ran with: the first, with the smallest batch."""
    reports = [json.loads((point.folder / REPORT.format(r)).read_text()) for r in range(world)]
    first = Effective.model_validate(reports[0]["effective"])
    return first.model_copy(update={"batch_size": min(report["batch_size"] for report in reports)})


def _effective(loaded: Loaded, device: torch.device) -> Effective:
    """Read from the live model what a rank runs with."""
    dtype = next(loaded.model.parameters()).dtype
    return effective_of_device(device).model_copy(
        update={
            "precision": PRECISIONS.get(dtype),
            "weights_dtype": dtype_name(dtype),
            "attn_implementation": loaded.attn_implementation,
            "compile": False,
        }
    )


def _digest(samples: list[dict[str, Any]]) -> str:
    told = "".join(f"{sample['id']}:{sample['digest']};" for sample in samples)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _warnings(point: Point, found: list[dict[str, Any]]) -> list[str]:
    told = []
    if len(found) < point.run.num_samples:
        told.append(f"the data has only {len(found)} of {point.run.num_samples} samples")
    crops = max(sample["crops"] for sample in found)
    if point.run.max_crops and crops < point.run.max_crops:
        told.append(f"no image has more than {crops} crops")
    return told
