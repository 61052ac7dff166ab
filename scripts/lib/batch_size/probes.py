"""Probe batch sizes, each in a process of its own.

An out-of-memory leaves fragments behind, and its exception keeps frames alive, so no process
probes twice. The processes are forked from a server that has imported torch and transformers and
done nothing with them: no CUDA context and no OpenMP region exists before the fork.
"""

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from scripts.lib.batch_size.search import Outcome
from scripts.lib.config.training import TrainingRun
from scripts.lib.devices.record import DeviceRecord, device_record

log = logging.getLogger(__name__)
PRELOAD = [
    "torch",
    "transformers.models.llama.modeling_llama",
    "scripts.lib.training.measure",
]


class ProbeServer:
    """Forks a process a probe. `seconds` holds how long each probe took."""

    def __init__(self, run: TrainingRun, tokens: str | Path, device: str):
        """Prepare for probes of `run` on `device`, `cpu` or `cuda`."""
        self.run, self.tokens, self.device = run, str(tokens), device
        self.seconds: dict[int, float] = {}
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(PRELOAD)

    def describe(self) -> tuple[DeviceRecord, float, str]:
        """Device, memory budget in bytes, and why the run is unsupported (or an empty text).

        Asked of a process of its own: a CUDA context here would take memory from the probes.
        Raises RuntimeError if that process fails.
        """
        answer = self._call(_describe, self.run, self.device)
        if isinstance(answer, Outcome):
            raise RuntimeError(f"the device cannot be described: {answer.reason}")
        return answer

    def probe(self, batch_size: int, timeout_s: float | None = None) -> Outcome:
        """Exercise the run at one batch size; after `timeout_s` seconds it has failed."""
        log.info("Trying batch size %d", batch_size)
        start = time.perf_counter()
        outcome = self._call(
            _exercise, self.run, batch_size, self.tokens, self.device, timeout_s=timeout_s
        )
        self.seconds[batch_size] = time.perf_counter() - start
        log.info(
            "Batch size %d %s (%.2f s)%s",
            batch_size,
            {"ok": "works", "oom": "is out of memory", "failed": "failed"}[outcome.outcome],
            self.seconds[batch_size],
            f": {outcome.reason}" if outcome.reason else "",
        )
        return outcome

    def _call(self, function: Callable, *arguments: Any, timeout_s: float | None = None) -> Any:
        """Return what `function` returns in a new process, or the Outcome of its violent end."""
        receiver, sender = self._context.Pipe(duplex=False)
        process = self._context.Process(
            target=_in_child, args=(sender, function, *arguments), daemon=True
        )
        process.start()
        sender.close()
        if not wait([receiver, process.sentinel], timeout=timeout_s):
            process.kill()
            process.join()
            return Outcome("failed", reason=f"no result within {timeout_s:g} s")
        answer = None
        with suppress(EOFError, OSError):
            answer = receiver.recv()
        process.join()  # only its end gives its memory back
        if answer is not None:
            return answer
        if process.exitcode == -signal.SIGKILL:
            # Nothing else ends a probe so: the kernel does when memory runs out.
            return Outcome("oom", reason="killed by signal 9, as the kernel does without memory")
        return Outcome("failed", reason=f"the process ended with exit code {process.exitcode}")


def _in_child(sender: Connection, function: Callable, *arguments: Any) -> None:
    _end_with_parent()
    sender.send(function(*arguments))
    sender.close()
    # Nothing to clean up, and torch's own teardown takes longer than a probe.
    os._exit(0)


def _describe(run: TrainingRun, device: str) -> tuple[DeviceRecord, float, str]:
    from scripts.lib.training.measure import budget_bytes, torch_device
    from scripts.lib.training.step import unsupported_reason

    target = torch_device(device)
    return device_record(target), budget_bytes(run, target), unsupported_reason(run, target)


def _exercise(run: TrainingRun, batch_size: int, tokens: str, device: str) -> Outcome:
    import torch

    from scripts.lib.training.measure import budget_bytes, classify, exercise, prepare, torch_device
    from scripts.lib.training.memory import LiveStorage

    target = torch_device(device)
    try:
        prepare(run, target)
        if target.type == "cuda":
            exercise(run, batch_size, tokens, target)
            if torch.cuda.memory_stats(target)["num_alloc_retries"]:
                # The allocator had to empty its cache to get through: too close to rely on.
                return Outcome("oom", reason="the allocator had to retry")
            return Outcome("ok", torch.cuda.max_memory_reserved(target))
        with LiveStorage(budget_bytes(run, target)) as storage:
            exercise(run, batch_size, tokens, target)
        return Outcome("ok", storage.peak_bytes)
    except Exception as error:
        outcome = "oom" if classify(error) == "oom" else "failed"
        text = " ".join(f"{type(error).__name__}: {error}".split())
        return Outcome(outcome, reason=text[:500])


def _end_with_parent() -> None:
    """End this process when the one that asked for the probe is gone, however it went."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
