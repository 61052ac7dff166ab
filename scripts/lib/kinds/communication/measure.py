"""Time one operation between ranks over message sizes, and check what arrives."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.distributed as dist

from scripts.lib.kinds.communication.config import CommunicationRun
from scripts.lib.runtime.clocks import clock_of

# Inputs are below this, so that sums are exact: bfloat16 holds whole numbers up to 256, which the
# sums of 169 ranks do not exceed. Integers wrap around in the operation as in what is expected.
VALUES = 4


@dataclass
class Message:
    """Buffers of one size on this rank, the operation on them, and what must come out.

    `run` performs the operation once; `reset` fills in the inputs again, for the check. Sizes
    follow nccl-tests: `message_bytes` are those of the largest buffer, input or output.
    """

    message_bytes: int
    output: torch.Tensor
    expected: torch.Tensor
    run: Callable[[], None]
    reset: Callable[[], None]
    times_us: list[float] = field(default_factory=list)

    def num_wrong(self) -> int:
        """Perform the operation on fresh inputs and count wrong elements on this rank."""
        self.reset()
        self.run()
        return int((self.output != self.expected).sum())


def make_message(run: CommunicationRun, message_bytes: int, device: torch.device) -> Message:
    """Make the buffers of one size, rounded up to elements that the ranks can share evenly."""
    dtype = getattr(torch, run.dtype)
    ranks, rank = dist.get_world_size(), dist.get_rank()
    size = dtype.itemsize
    share = max(1, -(-message_bytes // (size * ranks)))
    count = share * ranks if run.operation in ("all_gather", "reduce_scatter") else max(
        1, -(-message_bytes // size)
    )  # fmt: skip
    makers = {
        "all_reduce": _all_reduce,
        "all_gather": _all_gather,
        "reduce_scatter": _reduce_scatter,
        "broadcast": _broadcast,
        "send_recv": _send_recv,
    }
    output, expected, operate, reset = makers[run.operation](count, ranks, rank, dtype, device)
    return Message(count * size, output, expected, operate, reset)


def measure(
    run: CommunicationRun, device: torch.device, on_trial: Callable[[], None] = lambda: None
) -> list[tuple[Message, int]]:
    """Measure all sizes of a run on this rank; returns each message with its wrong elements.

    In every round the sizes take their turns in a random order, the same on all ranks. A trial
    begins after a barrier and is `num_iterations` operations back to back; `times_us` of a message
    are times per operation, on every rank those of the slowest one. Wrong elements are counted
    over all ranks, after the trials.
    """
    messages = [make_message(run, size, device) for size in sorted(run.message_bytes)]
    for message in messages:
        for _ in range(run.num_warmups):
            message.run()
    order = random.Random(run.seed)
    for _ in range(run.num_trials):
        for message in order.sample(messages, len(messages)):
            message.times_us.append(_trial(message, run.num_iterations, device))
        on_trial()
    _keep_slowest(messages, device)
    return [(message, _sum(message.num_wrong(), device)) for message in messages]


def _trial(message: Message, num_iterations: int, device: torch.device) -> float:
    """Microseconds per operation on this rank."""
    clock = clock_of(device)
    clock.synchronize()
    dist.barrier()
    start = time.perf_counter()
    for _ in range(num_iterations):
        message.run()
    clock.synchronize()
    return (time.perf_counter() - start) * 1e6 / num_iterations


def _keep_slowest(messages: list[Message], device: torch.device) -> None:
    """Put the slowest rank's time in the place of each of this rank's."""
    times = torch.tensor([message.times_us for message in messages], device=device)
    dist.all_reduce(times, op=dist.ReduceOp.MAX)
    for message, row in zip(messages, times.tolist(), strict=True):
        message.times_us = row


def _sum(value: int, device: torch.device) -> int:
    total = torch.tensor(value, device=device)
    dist.all_reduce(total)
    return int(total)


def _pattern(count: int, rank: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Values of a rank's input: small whole numbers that differ between ranks and places."""
    return ((torch.arange(count, device=device) + rank) % VALUES).to(dtype)


def _sum_of_patterns(
    count: int, ranks: int, dtype: torch.dtype, device: torch.device
) -> torch.Tensor:
    places = torch.arange(count, device=device)
    return sum((places + rank) % VALUES for rank in range(ranks)).to(dtype)


def _all_reduce(count, ranks, rank, dtype, device):
    own = _pattern(count, rank, dtype, device)
    output = own.clone()
    expected = _sum_of_patterns(count, ranks, dtype, device)
    return output, expected, lambda: dist.all_reduce(output), lambda: output.copy_(own)


def _all_gather(count, ranks, rank, dtype, device):
    share = count // ranks
    own = _pattern(share, rank, dtype, device)
    output = torch.zeros(count, dtype=dtype, device=device)
    expected = torch.cat([_pattern(share, other, dtype, device) for other in range(ranks)])
    return (
        output, expected, lambda: dist.all_gather_into_tensor(output, own), lambda: output.zero_(),
    )  # fmt: skip


def _reduce_scatter(count, ranks, rank, dtype, device):
    share = count // ranks
    own = _pattern(count, rank, dtype, device)
    output = torch.zeros(share, dtype=dtype, device=device)
    expected = _sum_of_patterns(count, ranks, dtype, device)[rank * share : (rank + 1) * share]
    return (
        output, expected, lambda: dist.reduce_scatter_tensor(output, own), lambda: output.zero_(),
    )  # fmt: skip


def _broadcast(count, ranks, rank, dtype, device):
    own = _pattern(count, rank, dtype, device)
    output = own.clone()
    expected = _pattern(count, 0, dtype, device)
    return output, expected, lambda: dist.broadcast(output, src=0), lambda: output.copy_(own)


def _send_recv(count, ranks, rank, dtype, device):
    own = _pattern(count, rank, dtype, device)
    output = torch.zeros(count, dtype=dtype, device=device)
    previous, following = (rank - 1) % ranks, (rank + 1) % ranks

    def operate() -> None:
        if ranks == 1:
            output.copy_(own)
            return
        both = [dist.P2POp(dist.isend, own, following), dist.P2POp(dist.irecv, output, previous)]
        for work in dist.batch_isend_irecv(both):
            work.wait()

    return output, _pattern(count, previous, dtype, device), operate, lambda: output.zero_()
