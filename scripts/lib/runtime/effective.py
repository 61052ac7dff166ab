"""What a measurement really runs with: device, types, attention kernel."""

from typing import Any

import torch
from torch.nn.attention import SDPBackend

from scripts.lib.results.result import Effective


def dtype_name(dtype: torch.dtype) -> str:
    """Return a dtype as torch writes it, without the module."""
    return str(dtype).removeprefix("torch.")


def effective_of_device(device: torch.device) -> Effective:
    """Return what is in force on a device in this process, whatever the model."""
    cuda = device.type == "cuda"
    return Effective(
        device=str(device),
        device_index=device.index if cuda else None,
        tf32=torch.backends.cuda.matmul.allow_tf32 if cuda else None,
        num_threads=torch.get_num_threads(),
    )


def sdpa_backend(
    shape: tuple[int, int, int, int], dtype: torch.dtype, device: torch.device, needs_grad: bool
) -> str | None:
    """Return the kernel that torch's sdpa chooses for causal attention without a mask.

    `shape` is (batch, heads, length, width of a head) of queries, keys and values. The choice is
    torch's own, asked for with the same arguments; None where this torch cannot be asked.
    """
    if not hasattr(torch, "_fused_sdp_choice"):
        return None
    tensors = [torch.empty(shape, dtype=dtype, device=device) for _ in range(3)]
    for tensor in tensors:
        tensor.requires_grad_(needs_grad)
    try:
        choose: Any = torch._fused_sdp_choice  # its types are wrong in torch's stubs
        choice = choose(*tensors, None, 0.0, True)
    except (RuntimeError, TypeError):
        return None
    return SDPBackend(choice).name.lower()
