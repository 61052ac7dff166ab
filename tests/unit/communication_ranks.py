"""What the processes of the tests of communication do; started with torch.multiprocessing."""

import json
from pathlib import Path

import torch
import torch.distributed as dist

from scripts.lib.kinds.communication.config import CommunicationRun
from scripts.lib.kinds.communication.measure import make_message, measure


def join(rank: int, world: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world
    )


def measured(rank: int, world: int, folder: str, settings: dict) -> None:
    """Measure a run and write sizes, times and wrong elements of each rank."""
    join(rank, world, folder)
    messages = measure(CommunicationRun.model_validate(settings), torch.device("cpu"))
    rows = [(m.message_bytes, m.times_us, wrong) for m, wrong in messages]
    Path(folder, f"{rank}.json").write_text(json.dumps(rows))
    dist.destroy_process_group()


def corrupted(rank: int, world: int, folder: str, settings: dict) -> None:
    """Count wrong elements where rank 1 sends another value than it should."""
    join(rank, world, folder)
    run = CommunicationRun.model_validate(settings)
    message = make_message(run, run.message_bytes[0], torch.device("cpu"))
    reset = message.reset

    def spoil() -> None:
        reset()
        if rank == 1:
            message.output[0] += 1

    message.reset = spoil
    Path(folder, f"{rank}.json").write_text(json.dumps(message.num_wrong()))
    dist.destroy_process_group()
