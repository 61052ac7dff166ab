"""Train the modes of a run in interleaved blocks on the ranks of this job, and record every step.

Run one after the other, the drift of a machine is larger than the difference of two modes. So all
modes train side by side, each with its own model of the same first weights, and take turns every
few steps; the order of the turns is drawn anew each time.
"""

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import yaml

from scripts.lib.kinds.ddp import checkpoint
from scripts.lib.kinds.ddp.analysis import summarise_run
from scripts.lib.kinds.ddp.cache import TokenisedText
from scripts.lib.kinds.ddp.config import DdpRun
from scripts.lib.kinds.ddp.records import (
    RankFile,
    Record,
    first_rows,
    merge,
    read_run,
    write_csv,
    write_effective,
    write_text_summary,
)
from scripts.lib.kinds.ddp.result import MEASUREMENT_VERSION
from scripts.lib.kinds.ddp.scheduler import Cost, ScheduleError, fit_cost
from scripts.lib.kinds.ddp.step import (
    Learner,
    all_sum,
    count_targets,
    peak_memory_mib,
    reset_peak_memory,
    synchronize,
)
from scripts.lib.kinds.ddp.streams import Stream
from scripts.lib.results.files import write_text
from scripts.lib.results.result import Effective
from scripts.lib.runtime.progress import progress
from scripts.lib.schema.errors import InputError
from scripts.lib.sweeps.identity import identity_of

log = logging.getLogger(__name__)
# Groups that `fitted` is measured on: shares of the rank's samples, and quantiles of the lengths.
FIT_SHARES = (0.5, 1.0, 2.0)
FIT_QUANTILES = (0.1, 0.5, 0.9, 1.0)
FIT_REPEATS = 3
# Coefficients that were fitted, in the folder of the run.
COST = "cost.json"


class Diverged(OSError):
    """The loss of a mode is no number any more; the message says from which step."""


@dataclass
class Job:
    """A run on this rank: its text, its device, and where it writes.

    `folder_of` gives the run directory of a mode and seed, `folder` is where the checkpoint is.
    `resumed`: it is to be continued from there, and not begun anew.
    """

    run: DdpRun
    text: TokenisedText
    device: torch.device
    folder: Path
    folder_of: Callable[[str, int], Path]
    max_tokens: int | None = None
    resumed: bool = False
    cost: Cost = field(init=False)

    def __post_init__(self) -> None:
        """Balance by the run's cost; `fitted` is measured by `train`."""
        self.cost = Cost(self.run.cost_type)

    @cached_property
    def identity(self) -> str:
        """What the steps rest on: settings, text, room, and what a measurement means."""
        settings = identity_of(DdpRun, self.run.model_dump(mode="json"))
        told = (settings, self.text.digest, self.max_tokens, MEASUREMENT_VERSION)
        return hashlib.sha256(repr(told).encode()).hexdigest()


@dataclass
class Mode:
    """One mode of one seed: what it learns with, its samples, its file."""

    name: str
    learner: Learner
    stream: Stream
    file: RankFile


def train(job: Job) -> None:
    """Train all modes and seeds of a job, from its checkpoint where there is one.

    Raises InputError for a model that does not fit the text, ScheduleError where the limits of
    memory leave no schedule, and Diverged.
    """
    run = job.run
    state = _checkpoint(job)
    if state:
        job.cost = Cost(run.cost_type, tuple(state["coefficients"]))
        if dist.get_rank() == 0:
            log.info("continuing at seed %d, step %d", run.seeds[state["seed"]], state["step"])
    else:
        for name in run.modes:  # what cannot be scheduled is refused before anything is written
            _stream(job, name, run.seeds[0]).next()
        if run.cost_type == "fitted":
            job.cost = measure_cost(job)
    done = (state["seed"] * run.steps + state["step"]) if state else 0
    with progress("steps", len(run.seeds) * run.steps, _say) as advance:
        advance(done)
        for number, seed in enumerate(run.seeds):
            if not state or number >= state["seed"]:
                own = state if state and number == state["seed"] else None
                _train_seed(job, number, seed, own, advance)
                state = None  # a copy of all weights
    dist.barrier()
    if dist.get_rank() == 0:
        checkpoint.remove(job.folder)


def _train_seed(
    job: Job, number: int, seed: int, state: dict[str, Any] | None, advance: Callable[[int], None]
) -> None:
    run, begin = job.run, state["step"] if state else 0
    modes = [_mode(job, name, seed, state) for name in run.modes]
    saved = begin
    if state:
        _warm_up(job, modes)
    for start in range(begin, run.steps, run.block_steps):
        end = min(start + run.block_steps, run.steps)
        for turn in np.random.default_rng([seed, start]).permutation(len(modes)):
            dist.barrier()
            reset_peak_memory(job.device)
            for _ in range(start, end):
                one_step(job, modes[turn], seed)
            modes[turn].file.flush()
        advance(end - start)
        if run.checkpoint_steps and end - saved >= run.checkpoint_steps and end < run.steps:
            saved = end
            dist.barrier()  # the rows of every rank are on disk
            if dist.get_rank() == 0:
                own = {m.name: m.learner.state() | {"stream": m.stream.state()} for m in modes}
                at = {"seed": number, "step": end, "coefficients": list(job.cost.coefficients)}
                checkpoint.save(job.folder, job.identity, at | {"modes": own})
    for mode in modes:
        found = mode.learner.evaluate(job.text.evaluation, job.max_tokens)
        if not math.isfinite(found["eval_loss"]):
            raise Diverged(f"loss of the evaluation is not finite after the steps of {mode.name}")
        dist.barrier()
        if dist.get_rank() == 0:
            _finish(job, mode.name, seed, found, mode.learner.effective())


def _warm_up(job: Job, modes: list[Mode]) -> None:
    """Go through steps that change nothing: the first ones of a process are slow.

    The warm-up of a run that is continued lies in the records of the process before.
    """
    run = job.run
    rows = np.arange(min(run.global_batch // run.ranks, len(job.text.train)))
    lengths = job.text.train.lengths(run.max_length)
    if job.max_tokens:
        rows = rows[: max(1, job.max_tokens // int(lengths[rows].max()))]
    total = run.ranks * count_targets(run, lengths[rows])
    for mode in modes:
        for _ in range(run.warmup_steps):
            mode.learner.gradients(job.text.train, rows, total)
            mode.learner.optimizer.zero_grad(set_to_none=True)


def one_step(job: Job, mode: Mode, seed: int) -> None:
    """Make one step of a mode: schedule, forward, backward, reduction, optimiser, record."""
    run, rank, number = job.run, dist.get_rank(), mode.stream.step
    # Dropout of a step is its own, so that turns and resuming change nothing.
    torch.manual_seed(int(np.random.SeedSequence([seed, number, rank]).generate_state(1)[0]))
    synchronize(job.device)
    cpu, start = time.process_time(), time.perf_counter()
    plan = mode.stream.next()
    total = count_targets(run, mode.stream.lengths[np.concatenate(plan.groups)])
    scheduled = time.perf_counter()
    parts = mode.learner.step(job.text.train, plan.groups[rank], total)
    elapsed = time.perf_counter() - start
    if not math.isfinite(parts.loss_sum):
        raise Diverged(f"loss is not finite from step {number} of mode {mode.name}")
    mode.file.add(
        Record(
            step=number,
            rank=rank,
            local_batch=len(plan.groups[rank]),
            max_seq_len_in_batch=parts.max_seq_len_in_batch,
            real_tokens=parts.real_tokens,
            padded_tokens=parts.padded_tokens,
            compute_ms=parts.compute_ms,
            wait_ms=parts.wait_ms,
            allreduce_ms=parts.allreduce_ms,
            optimizer_ms=parts.optimizer_ms,
            schedule_ms=(scheduled - start) * 1000,
            step_time_ms=elapsed * 1000,
            cpu_ms=(time.process_time() - cpu) * 1000,
            peak_mem_mib=peak_memory_mib(job.device),
            loss=parts.loss_sum / max(parts.targets, 1),
            targets=parts.targets,
            throughput_samples_per_s=len(plan.groups[rank]) / elapsed,
            throughput_tokens_per_s=parts.real_tokens / elapsed,
            cost=plan.largest_cost,
            cost_bound=plan.bound,
        )
    )


def measure_cost(job: Job) -> Cost:
    """Fit the cost of a group to the times of forward and backward, averaged over the ranks."""
    run = job.run
    learner = Learner(run, job.text, job.device, run.seeds[0])
    lengths = job.text.train.lengths(run.max_length)
    order = np.argsort(lengths, kind="stable")
    share = max(1, run.global_batch // run.ranks)
    groups = []
    for quantile in FIT_QUANTILES:
        last = int(quantile * (len(order) - 1))
        room = job.max_tokens // lengths[order[last]] if job.max_tokens else len(order)
        for part in FIT_SHARES if room else ():
            count = min(max(1, int(share * part)), last + 1, room)
            groups.append(order[last + 1 - count : last + 1])
    if not groups:
        raise ScheduleError(f"no sample fits into the {job.max_tokens} tokens of a rank")
    times = torch.zeros(len(groups), dtype=torch.float64)
    for i, group in enumerate(groups):
        seconds = []
        for _ in range(FIT_REPEATS + 1):  # the first of a shape is slow
            synchronize(job.device)
            start = time.perf_counter()
            with learner.ddp.no_sync():
                learner.loss_sum(learner.ddp, job.text.train, group)[0].backward()
            synchronize(job.device)
            seconds.append(time.perf_counter() - start)
            learner.optimizer.zero_grad(set_to_none=True)
        times[i] = float(np.median(seconds[1:])) * 1000
    times = all_sum(times) / dist.get_world_size()
    counts = np.array([len(group) for group in groups])
    cost = fit_cost(counts, np.array([lengths[group].max() for group in groups]), times.numpy())
    if dist.get_rank() == 0:
        write_text(job.folder / COST, json.dumps(cost.coefficients) + "\n")
        log.info("fitted cost: %.3g + %.3g k L + %.3g k L^2 ms", *cost.coefficients)
    return cost


def _mode(job: Job, name: str, seed: int, state: dict[str, Any] | None) -> Mode:
    run, folder = job.run, job.folder_of(name, seed)
    learner = Learner(run, job.text, job.device, seed)
    stream = _stream(job, name, seed)
    if state:
        learner.restore(state["modes"][name])
        stream.restore(state["modes"][name]["stream"])
    elif dist.get_rank() == 0:
        settings = run.model_dump() | {"mode": name, "seed": seed, "max_tokens": job.max_tokens}
        write_text(folder / "config.yaml", yaml.safe_dump(settings, sort_keys=False))
    path = folder / "metrics" / f"rank{dist.get_rank()}.csv"
    return Mode(name, learner, stream, RankFile(path, state["step"] if state else 0))


def _stream(job: Job, name: str, seed: int) -> Stream:
    lengths = job.text.train.lengths(job.run.max_length)
    limit = None if name == "static" else job.max_tokens
    return Stream(name, job.run, lengths, seed, job.cost, limit)


def _checkpoint(job: Job) -> dict[str, Any] | None:
    """Return the checkpoint, or None where any rank cannot continue from it.

    Raises InputError where the job is to be continued and that cannot be.
    """
    state = checkpoint.load(job.folder, job.identity)
    usable = torch.tensor([float(state is not None and _has_records(job, state))])
    if all_sum(usable) == dist.get_world_size():
        return state
    if (job.folder / checkpoint.NAME).exists():
        what = "the checkpoint is damaged, of another text or settings, or ahead of its records"
        if job.resumed:
            raise InputError(f"resume: {job.folder}: {what}")
        _say(f"{what}: beginning anew")
    return None


def _has_records(job: Job, state: dict[str, Any]) -> bool:
    """Whether this rank's records reach as far as a checkpoint, in all modes and seeds."""
    name = f"rank{dist.get_rank()}.csv"
    for number, seed in enumerate(job.run.seeds[: state["seed"] + 1]):
        finished = number < state["seed"]
        steps = job.run.steps if finished else state["step"]
        for mode in job.run.modes:
            folder = job.folder_of(mode, seed)
            if len(first_rows(folder / "metrics" / name, steps)) < steps:
                return False
            if finished and not (folder / "summary.csv").exists():
                return False
    return True


def _finish(
    job: Job, mode: str, seed: int, evaluation: dict[str, float], effective: Effective
) -> None:
    folder = job.folder_of(mode, seed)
    merge(folder)
    summary = summarise_run(read_run(folder), job.run.warmup_steps)
    lengths = job.text.train.lengths(job.run.max_length)
    write_effective(folder, effective)
    write_text_summary(folder, lengths, len(job.text.evaluation))
    row = {"mode": mode, "seed": seed, "ranks": job.run.ranks, **summary, **evaluation}
    write_csv(folder / "summary.csv", [row])
    log.info("%s, seed %d: %.1f ms per step, loss %.4f, evaluation %.4f, accuracy %.3f",
             mode, seed, summary["mean_step_time_ms"], summary["final_loss"],
             evaluation["eval_loss"], evaluation["eval_accuracy"])  # fmt: skip


def _say(message: str, *values: Any) -> None:
    if dist.get_rank() == 0:
        log.info(message, *values)
