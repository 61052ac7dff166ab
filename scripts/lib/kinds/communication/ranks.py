"""One rank of a communication run: join the others, measure, and leave what came out."""

import json
from pathlib import Path
from typing import Any

from scripts.lib.kinds.communication.config import CommunicationRun
from scripts.lib.results.files import write_text
from scripts.lib.runtime.launch import FAILURE_FILE, write_failure
from scripts.lib.runtime.processes import RankLost, is_lost, joined, pin_to_core, placed
from scripts.lib.schema.errors import InputError

# What rank 0 leaves for the program that started the ranks.
TIMES = "times.json"
# Of gloo and NCCL about an operation or a type that they lack.
_LACKS = ("does not support", "unsupported", "not supported", "Invalid scalar type")


def unsupported(run: CommunicationRun, kind: str) -> str:
    """Why a run cannot be measured on a `cpu` or `cuda` device; empty if nothing is known."""
    if run.backend == "nccl" and kind != "cuda":
        return f"backend nccl needs {run.ranks} CUDA devices, and this machine has fewer"
    if run.operation == "send_recv" and run.ranks == 1:
        return "send_recv needs at least 2 ranks"
    return ""


def measure_on_rank(
    run: CommunicationRun, kind: str, init_method: str, folder: Path
) -> dict[str, Any]:
    """Measure as the rank that the environment names; rank 0 writes the times into `folder`.

    A failure is written there, too, before it is raised.
    """
    rank = placed("RANK")
    pinned = kind != "cpu" or pin_to_core() is not None
    try:
        with joined(kind, init_method) as device:
            times = _measure(run, device, pinned)
    except Exception as error:
        _leave_failure(folder, rank, error)
        raise
    if rank == 0:
        write_text(folder / TIMES, json.dumps(times))
    return {"rank": rank}


def _measure(run: CommunicationRun, device: Any, pinned: bool) -> dict[str, Any]:
    from scripts.lib.kinds.communication.measure import measure
    from scripts.lib.runtime.effective import effective_of_device
    from scripts.lib.runtime.progress import progress

    with progress("rounds", run.num_trials) as advance:
        messages = measure(run, device, advance)
    return {
        "backend": "nccl" if device.type == "cuda" else "gloo",
        "pinned": pinned,
        "effective": effective_of_device(device).model_dump(),
        "messages": [(m.message_bytes, m.times_us, wrong) for m, wrong in messages],
    }


def _leave_failure(folder: Path, rank: int, error: Exception) -> None:
    from scripts.lib.runtime.outcomes import classify, reason_of

    status = classify(error)
    if status == "failed" and any(mark in str(error) for mark in _LACKS):
        status = "unsupported"
    lost = isinstance(error, RankLost) or is_lost(error)
    write_failure(
        folder / FAILURE_FILE.format(rank),
        rank,
        "input" if isinstance(error, InputError) else status,
        reason_of(error),
        lost=lost,
        of_all=status == "unsupported",
    )
