"""What processes of probes do in the tests; each stands for a way in which a probe can end."""

import os
import signal
import time

import torch

from scripts.lib.batch_size import child
from scripts.lib.batch_size.search import Outcome
from scripts.lib.runtime.outcomes import Unsupported


def kills_itself(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def hangs(*_):
    time.sleep(600)


def exits(*_):
    os._exit(3)


def raises(error):
    """What a probe does whose workload ends with this error."""

    def workload(*_):
        raise error

    child._workload = workload


def raises_room(task, *arguments):
    raises(RuntimeError("CUDA error: no room in the mailbox of the driver"))
    return child.exercise(task, *arguments)


def raises_out_of_memory(task, *arguments):
    raises(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    return child.exercise(task, *arguments)


def raises_cpu_allocator(task, *arguments):
    raises(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes"))
    return child.exercise(task, *arguments)


def raises_not_implemented(task, *arguments):
    raises(NotImplementedError("Could not run 'aten::_grouped_mm' with arguments from 'CPU'"))
    return child.exercise(task, *arguments)


def raises_import_error(task, *arguments):
    raises(ImportError("requires the package flash-attn"))
    return child.exercise(task, *arguments)


def raises_knob(task, *arguments):
    raises(Unsupported("top_k: the model has no routed experts"))
    return child.exercise(task, *arguments)


def grows(task, batch_size, budget_bytes, budget_method):
    """Take 10 bytes a sample."""
    peak = 10.0 * batch_size
    return Outcome("ok", peak) if peak <= budget_bytes else Outcome("oom", reason="too large")
