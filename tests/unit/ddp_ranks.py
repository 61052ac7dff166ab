"""Run a function on several ranks of this machine, each in a process of its own."""

import logging
import multiprocessing
import os
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from scripts.lib.kinds.ddp import engine
from scripts.lib.kinds.ddp.cache import open_text
from scripts.lib.kinds.ddp.config import DdpRun
from scripts.lib.kinds.ddp.engine import Job, train
from scripts.lib.kinds.ddp.gradients import gradient_error
from scripts.lib.kinds.ddp.records import read_run
from scripts.lib.kinds.ddp.step import Learner, all_sum
from scripts.lib.kinds.ddp.streams import Stream
from scripts.lib.runtime.processes import joined

PICO = {"d_model": 16, "d_ff": 32, "num_layers": 1, "num_heads": 2}


def ddp_run(**changes) -> DdpRun:
    settings = {
        "model": "pico", "size": PICO, "global_batch": 16, "max_length": 48, "vocab": 300,
        "steps": 12, "warmup_steps": 2, "block_steps": 3, "precision": "fp32", "device": "cpu",
    }  # fmt: skip
    return DdpRun.model_validate(settings | changes)


def on_ranks(function, ranks: int, folder: Path, *arguments):
    """Call `function(device, *arguments)` on each rank; returns what rank 0 returned."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.unit.ddp_ranks"])
    receiver, sender = context.Pipe(duplex=False)
    meeting = folder / f"meeting-{os.urandom(4).hex()}"
    processes = [
        context.Process(target=_rank, args=(sender, rank, ranks, meeting, function, arguments))
        for rank in range(ranks)
    ]
    for process in processes:
        process.start()
    try:
        assert receiver.poll(120), "the ranks gave no answer"
        answer = receiver.recv()
    finally:
        for process in processes:
            process.join(10)
            process.kill()
    if isinstance(answer, Exception):
        raise answer
    return answer


def _rank(sender, rank, ranks, meeting, function, arguments):
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(ranks), "LOCAL_RANK": str(rank)}
    try:
        with joined("cpu", f"file://{meeting}") as device:
            answer = function(device, *arguments)
            if rank == 0:
                sender.send(answer)
    except Exception as error:
        sender.send(RuntimeError(f"rank {rank}: {error!r}"))


def gradient_errors(device, runs: list[DdpRun], text_folder: Path) -> dict[str, float]:
    """Relative errors of the averaged gradient of a step by run and mode."""
    text = open_text(text_folder)
    errors = {}
    for run in runs:
        for mode in run.modes:
            stream = Stream(mode, run, text.train.lengths(run.max_length), run.seed)
            name = f"{run.task} accumulation={run.accumulation} {mode}"
            errors[name] = gradient_error(run, text, device, run.seed, stream.next())
    return errors


def losses(device, run: DdpRun, text_folder: Path, folder: Path) -> dict[str, np.ndarray]:
    """Train a run; the loss of each step over the global batch, by mode."""
    text = open_text(text_folder)
    train(Job(run, text, device, folder, lambda mode, seed: folder / mode))
    return {mode: global_losses(folder / mode) for mode in run.modes}


def global_losses(folder: Path) -> np.ndarray:
    records = read_run(folder)
    return (records["loss"] * records["targets"]).sum(axis=1) / records["targets"].sum(axis=1)


def damaged(device, run: DdpRun, text_folder: Path, folder: Path) -> dict[str, tuple]:
    """Train on from a checkpoint after each damage: what is logged, and the losses."""
    text = open_text(text_folder)
    checkpoint, records = folder / "checkpoint.pt", folder / "metrics/rank1.csv"
    damages = {
        "none": lambda: None,
        "checkpoint": lambda: checkpoint.write_bytes(checkpoint.read_bytes()[:2000]),
        "short records": lambda: records.write_text(records.read_text()[:300]),
        "no records": records.unlink,
    }
    engine.checkpoint.remove = lambda folder: None  # that of the middle stays
    engine.log.setLevel(logging.INFO)
    found = {}
    for name, damage in damages.items():
        train(Job(run, text, device, folder, lambda mode, seed: folder))
        if dist.get_rank() == 0:
            damage()
        dist.barrier()
        told = Told()
        engine.log.addHandler(told)
        train(Job(run, text, device, folder, lambda mode, seed: folder))
        engine.log.removeHandler(told)
        found[name] = told.lines, global_losses(folder)
    return found


class Told(logging.Handler):
    """Keep what is logged."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


def fitted(device, run: DdpRun, text_folder: Path, folder: Path, max_tokens: int) -> np.ndarray:
    """Train with a measured cost within a limit; the losses of the first mode."""
    text = open_text(text_folder)
    train(Job(run, text, device, folder, lambda mode, seed: folder / mode, max_tokens))
    return global_losses(folder / run.modes[0])


def evaluation(device, run: DdpRun, text_folder: Path) -> dict[str, float]:
    text = open_text(text_folder)
    return Learner(run, text, device, run.seed).evaluate(text.evaluation)


def capped_evaluation(device, run: DdpRun, text_folder: Path, max_tokens: int) -> tuple:
    """An evaluation within a limit, and the most padded tokens that were in the model at once."""
    text, most = open_text(text_folder), 0
    learner = Learner(run, text, device, run.seed)

    def look(module, arguments, named):
        nonlocal most
        most = max(most, named["input_ids"].numel())

    learner.model.register_forward_pre_hook(look, with_kwargs=True)
    return learner.evaluate(text.evaluation, max_tokens), most


def late_step(device, run: DdpRun, text_folder: Path, late_s: float) -> tuple[float, float]:
    """`compute_ms` and `wait_ms` of rank 1 in a step to which rank 0 comes late."""
    text = open_text(text_folder)
    learner = Learner(run, text, device, run.seed)
    group = np.arange(4)
    for step in range(4):  # DDP arranges its buckets anew in the second
        dist.barrier()
        if step == 3 and dist.get_rank() == 0:
            time.sleep(late_s)
        parts = learner.step(text.train, group, 4 * run.ranks)
    own = dist.get_rank() == 1
    told = torch.tensor([parts.compute_ms, parts.wait_ms] if own else [0.0, 0.0])
    return tuple(all_sum(told).tolist())
