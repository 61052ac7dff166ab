"""One data-parallel step: forward, backward, reduction, optimiser, with its parts timed.

DDP averages gradients over ranks, but the ranks have different numbers of samples. So each part of
a rank's samples contributes the sum of its losses times G / N, N being the samples (or, for a
language model, the tokens to predict) of the whole global batch: the average is then the gradient
of the global mean, whoever has how many.
"""

import inspect
import resource
import time
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

from scripts.lib.devices.units import MIB
from scripts.lib.kinds.ddp.cache import Samples, TokenisedText
from scripts.lib.kinds.ddp.config import DdpRun
from scripts.lib.kinds.ddp.model import build_model
from scripts.lib.results.result import Effective
from scripts.lib.runtime.effective import dtype_name, effective_of_device

# Named `forward_sync_buffers` by newer versions of torch, which warn of the older name.
_BUFFER_OPTION = next(
    name
    for name in ("forward_sync_buffers", "broadcast_buffers")
    if name in inspect.signature(DistributedDataParallel).parameters
)
EVALUATED_AT_ONCE = 64
_AUTOCAST = {"bf16_mixed": torch.bfloat16, "fp16_mixed": torch.float16}


def resolve_precision(precision: str, device: torch.device) -> str:
    """Precision behind `auto`: on CUDA autocast to bf16, or fp16 without it; fp32 on a CPU."""
    if precision != "auto":
        return precision
    if device.type != "cuda":
        return "fp32"
    return "bf16_mixed" if torch.cuda.is_bf16_supported() else "fp16_mixed"


@dataclass
class Parts:
    """Times of a step in milliseconds, its loss and what its samples were.

    `compute_ms` is forward and backward up to the last gradient of this rank, `wait_ms` the time
    until all ranks have got there, `allreduce_ms` what is left of the reduction then. `loss_sum`
    adds up the losses of `targets` samples or tokens.
    """

    compute_ms: float = 0.0
    wait_ms: float = 0.0
    allreduce_ms: float = 0.0
    optimizer_ms: float = 0.0
    loss_sum: float = 0.0
    targets: int = 0
    real_tokens: int = 0
    padded_tokens: int = 0
    max_seq_len_in_batch: int = 0


class TimedReduction:
    """DDP's communication hook: averages as DDP does, and tells when this rank was ready.

    The earlier buckets are reduced while backward goes on. At the last one the ranks meet at a
    reduction of one number, which splits waiting from transport.
    """

    def __init__(self, device: torch.device):
        """Reduce over all ranks of the default group."""
        self.device, self.ranks = device, dist.get_world_size()
        self.ready = self.met = 0.0
        self._token = torch.zeros(1, device=device)

    def reduce(self, state: Any, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
        """Reduce one bucket of gradients."""
        if bucket.is_last():
            synchronize(self.device)
            self.ready = time.perf_counter()
            dist.all_reduce(self._token)
            synchronize(self.device)
            self.met = time.perf_counter()
        work = dist.all_reduce(bucket.buffer().div_(self.ranks), async_op=True)
        return work.get_future().then(lambda future: future.value()[0])


class Learner:
    """A model on all ranks with its optimiser."""

    def __init__(self, run: DdpRun, text: TokenisedText, device: torch.device, seed: int):
        """Build the model of a seed; the process group must be there. Raises InputError."""
        self.run, self.device, self.pad_id = run, device, text.pad_id
        self.precision = resolve_precision(run.precision, device)
        self.dtype = _AUTOCAST.get(self.precision)
        self.model = build_model(run, text.vocab_size, text.num_labels, text.pad_id, device, seed)
        self.ddp = DistributedDataParallel(
            self.model,
            device_ids=[device] if device.type == "cuda" else None,
            gradient_as_bucket_view=True,
            **{_BUFFER_OPTION: False},  # or ranks would meet, and wait, before they compute
        )
        self.reduction = TimedReduction(device)
        self.ddp.register_comm_hook(None, self.reduction.reduce)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=run.learning_rate, fused=True
        )
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.dtype == torch.float16)

    def effective(self) -> Effective:
        """Return what the steps run with, read from the live model."""
        return effective_of_device(self.device).model_copy(
            update={
                "precision": self.precision,
                "weights_dtype": dtype_name(next(self.model.parameters()).dtype),
                "autocast_dtype": self.dtype and dtype_name(self.dtype),
                "attn_implementation": self.model.config._attn_implementation,
                "compile": False,
            }
        )

    def step(self, samples: Samples, group: np.ndarray, total: int) -> Parts:
        """Make one step with this rank's `group` of samples; `total` counts all ranks' targets."""
        start = time.perf_counter()
        parts = self.gradients(samples, group, total)
        synchronize(self.device)
        reduced = time.perf_counter()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        synchronize(self.device)
        parts.compute_ms = (self.reduction.ready - start) * 1000
        parts.wait_ms = (self.reduction.met - self.reduction.ready) * 1000
        parts.allreduce_ms = (reduced - self.reduction.met) * 1000
        parts.optimizer_ms = (time.perf_counter() - reduced) * 1000
        return parts

    def gradients(self, samples: Samples, group: np.ndarray, total: int) -> Parts:
        """Leave the gradient of the global mean loss in the parameters, averaged over ranks."""
        parts = Parts()
        pieces = np.array_split(group, min(self.run.accumulation, len(group)))
        scale = dist.get_world_size() / total
        for number, piece in enumerate(pieces):
            last = number == len(pieces) - 1
            with nullcontext() if last else self.ddp.no_sync():
                loss, told = self.loss_sum(self.ddp, samples, piece)
                self.scaler.scale(loss * scale).backward()
            parts.loss_sum += float(loss.detach())
            parts.targets += told.targets
            parts.real_tokens += told.real_tokens
            parts.padded_tokens += told.padded_tokens
            parts.max_seq_len_in_batch = max(parts.max_seq_len_in_batch, told.max_seq_len_in_batch)
        return parts

    def loss_sum(
        self, model: torch.nn.Module, samples: Samples, rows: np.ndarray
    ) -> tuple[torch.Tensor, Parts]:
        """Sum of the losses of some samples through `model`, and how many tokens they had."""
        logits, labels, parts = self._forward(model, samples, rows)
        return cross_entropy(logits, labels, reduction="sum", ignore_index=-100), parts

    @torch.no_grad()
    def evaluate(self, samples: Samples, max_tokens: int | None = None) -> dict[str, float]:
        """Mean loss and accuracy over all samples, each on exactly one rank.

        Not more at once than a rank trains on, or than `max_tokens` padded tokens.
        """
        self.model.eval()
        sums = torch.zeros(3, dtype=torch.float64)
        rows = np.arange(dist.get_rank(), len(samples), dist.get_world_size())
        # Samples of like length together: the sums do not depend on it, the time does.
        lengths = samples.lengths(self.run.max_length)
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        most = max(1, self.run.global_batch // self.run.ranks)
        if max_tokens and len(rows):
            most = max(1, max_tokens // int(lengths[rows].max()))
        most = min(most, EVALUATED_AT_ONCE)
        for piece in np.array_split(rows, -(-len(rows) // most)) if len(rows) else ():
            logits, labels, _ = self._forward(self.model, samples, piece)
            counted = labels != -100
            losses = cross_entropy(logits, labels, reduction="none", ignore_index=-100)
            loss = losses.double().sum()
            right = (logits.argmax(-1) == labels)[counted].sum()
            sums += torch.tensor([float(loss), float(right), float(counted.sum())])
        self.model.train()
        sums = all_sum(sums)
        loss, right, count = (float(value) for value in sums)
        return {"eval_loss": loss / max(count, 1), "eval_accuracy": right / max(count, 1)}

    def state(self) -> dict[str, Any]:
        """What `restore` needs: weights, optimiser, loss scale."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])

    def _forward(
        self, model: torch.nn.Module, samples: Samples, rows: np.ndarray
    ) -> tuple[torch.Tensor, torch.Tensor, Parts]:
        """Logits of shape (targets, classes), labels (-100 for none), and counts."""
        ids, mask, labels = samples.batch(rows, self.run.max_length, self.pad_id)
        parts = Parts(
            real_tokens=int(mask.sum()), padded_tokens=mask.size, max_seq_len_in_batch=ids.shape[1]
        )
        if self.run.task == "causal_lm":
            labels = np.where(mask, ids, -100)[:, 1:].reshape(-1)
        parts.targets = int((labels != -100).sum())
        tensors = [torch.from_numpy(np.array(x)).to(self.device) for x in (ids, mask, labels)]
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None):
            logits = model(input_ids=tensors[0], attention_mask=tensors[1]).logits
        if self.run.task == "causal_lm":
            logits = logits[:, :-1].reshape(-1, logits.shape[-1])
        return logits.float(), tensors[2], parts


def count_targets(run: DdpRun, lengths: np.ndarray) -> int:
    """Samples, or for a language model tokens to predict, of samples with these lengths."""
    if run.task == "causal_lm":
        return max(1, int((lengths - 1).sum()))
    return len(lengths)


def all_sum(values: torch.Tensor) -> torch.Tensor:
    """Sum of a CPU tensor over all ranks."""
    dist.all_reduce(values)
    return values


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all its work; a CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def reset_peak_memory(device: torch.device) -> None:
    """Begin a new peak where that can be done: on CUDA."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory_mib(device: torch.device) -> float:
    """Peak memory: of CUDA's allocator since its reset, or all resident memory of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
