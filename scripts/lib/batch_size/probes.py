"""Probe batch sizes, each in a process of its own.

An out-of-memory leaves fragments behind, and its exception keeps frames alive, so no process
probes twice. The processes are forked from a server that has imported torch and transformers and
done nothing with them: no CUDA context and no OpenMP region exists before the fork.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from scripts.lib.batch_size import child
from scripts.lib.batch_size.allocator import PINNED_ALLOCATOR
from scripts.lib.batch_size.search import Outcome
from scripts.lib.batch_size.task import Description, Task

# Of every kind; a kind's `probing` names its own.
PRELOAD = (
    "torch",
    "torch._dynamo",
    "transformers.models.llama.modeling_llama",
    "transformers.generation",
    "scripts.lib.batch_size.budgets",
)
# The first process waits for the imports of the server.
START_SECONDS = 600


class ProbeServer:
    """Forks a process a probe. `seconds` holds how long each probe took, in order.

    A Python process has one server: for `budget_method: rlimit` the first task must ask for it.
    """

    def __init__(self, task: Task, exercise: Callable[..., Outcome] = child.exercise):
        """Prepare for probes of a task; `exercise` is what each process does."""
        self.task, self._exercise = task, exercise
        self.seconds: list[float] = []
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([*PRELOAD, *task.probing.preload])

    def describe(self) -> Description:
        """Describe the device.

        Asked of a process of its own: a CUDA context here would take memory from the probes.
        Raises RuntimeError if that process fails.
        """
        return self._ask(child.describe, self.task, timeout_s=START_SECONDS)

    def probe(self, batch_size: int, budget_bytes: float, budget_method: str) -> Outcome:
        """Exercise the run at one batch size; a process that takes too long has failed."""
        start = time.perf_counter()
        outcome = self.measure(batch_size, budget_bytes, budget_method)
        self.seconds.append(time.perf_counter() - start)
        return outcome

    def measure(self, batch_size: int, budget_bytes: float, budget_method: str) -> Outcome:
        """Do the same as `probe`, without counting it as one of the search."""
        return self._call(
            self._exercise,
            self.task,
            batch_size,
            budget_bytes,
            budget_method,
            timeout_s=self.task.settings.probe_timeout_s,
        )

    def throughput(self, batch_size: int) -> float:
        """Samples per second at a batch size. Raises RuntimeError if the process fails."""
        timeout_s = self.task.settings.probe_timeout_s
        return self._ask(child.throughput, self.task, batch_size, timeout_s=timeout_s)

    def _ask(self, function: Callable, *arguments: Any, timeout_s: float) -> Any:
        answer = self._call(function, *arguments, timeout_s=timeout_s)
        if isinstance(answer, Outcome):
            raise RuntimeError(f"{function.__name__} failed: {answer.reason}")
        return answer

    def _call(self, function: Callable, *arguments: Any, timeout_s: float) -> Any:
        """Return what `function` returns in a new process, or the Outcome of its violent end."""
        receiver, sender = self._context.Pipe(duplex=False)
        process = self._context.Process(
            target=_in_child, args=(sender, function, *arguments), daemon=True
        )
        pinned = self.task.settings.budget_method == "rlimit"
        with _environment(PINNED_ALLOCATOR if pinned else {}):
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


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables for the block, in which the server of all probes may start."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _in_child(sender: Connection, function: Callable, *arguments: Any) -> None:
    _end_with_parent()
    sender.send(function(*arguments))
    sender.close()
    # Nothing to clean up, and torch's own teardown takes longer than a probe.
    os._exit(0)


def _end_with_parent() -> None:
    """End this process when the one that asked for the probe is gone, however it went."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
