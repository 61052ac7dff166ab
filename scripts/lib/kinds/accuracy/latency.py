"""Where the time of a generation goes: vision tower, rest of the prefill, decoding."""

import functools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


class Stages:
    """Milliseconds of the last generation: `vision_ms`, `prefill_ms` without it, `decode_ms`.

    Everything up to the end of the first forward pass of the whole model belongs to the first two;
    images may be encoded inside of that pass or before it. What is outside the later passes
    (choosing tokens) counts as decoding.
    """

    def __init__(self, device: torch.device):
        """Measure on a device; on CUDA each edge waits for it."""
        self.device = device
        self._vision = self._first = self._whole = 0.0

    @contextmanager
    def watch(self, model: nn.Module) -> Iterator[None]:
        """Time one `generate` of the model within the block."""
        inner = getattr(model, "model", None)
        own = getattr(inner, "get_image_features", None)
        start = self._now()
        self._vision = self._first = 0.0

        # Generation looks at the signature, which `wraps` hands on.
        @functools.wraps(own or model.forward)
        def seen(*arguments: Any, **named: Any) -> Any:
            begun = self._now()
            found = own(*arguments, **named)
            self._vision += self._now() - begun
            return found

        def after(*_: Any) -> None:
            if not self._first:
                self._first = self._now() - start

        hook = model.register_forward_hook(after)
        if own is not None:
            inner.get_image_features = seen  # the instance's attribute hides the method
        try:
            yield
        finally:
            self._whole = self._now() - start
            hook.remove()
            if own is not None:
                del inner.get_image_features

    def told(self) -> dict[str, float]:
        """Milliseconds of each stage."""
        parts = {
            "vision_ms": self._vision,
            "prefill_ms": self._first - self._vision,
            "decode_ms": self._whole - self._first,
        }
        return {name: round(seconds * 1000, 3) for name, seconds in parts.items()}

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()
