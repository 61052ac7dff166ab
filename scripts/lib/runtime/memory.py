"""Peak memory of a step: counted on a CPU, from the allocator on CUDA, against a budget."""

import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from scripts.lib.devices.units import MIB


class LiveStorage(TorchDispatchMode):
    """Count the bytes of living tensor storage within the block, and refuse to go above a limit.

    A repeatable out-of-memory on a CPU without privileges: every storage that an operator returns
    is counted once, rounded up to 512 bytes as CUDA's allocator does, and taken off again when the
    storage is freed. Above `limit_bytes` it raises `torch.OutOfMemoryError`. Memory inside an
    operator (workspaces) is not seen. Storage made before the block is not seen; `held_bytes` of
    it, such as weights, count towards the limit, not towards the peak.
    """

    ROUNDING = 512

    def __init__(self, limit_bytes: float | None = None, held_bytes: float = 0):
        """Count without a limit, or up to `limit_bytes`."""
        super().__init__()
        self.limit_bytes, self.held_bytes = limit_bytes, held_bytes
        self.live_bytes = 0
        self.peak_bytes = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operator and count the storage it made."""
        outputs = func(*args, **(kwargs or {}))
        storages = [t.untyped_storage() for t in tree_iter(outputs) if isinstance(t, torch.Tensor)]
        if any(storage._cdata not in self._known for storage in storages):
            inputs = {
                t.untyped_storage()._cdata
                for t in tree_iter((args, kwargs))
                if isinstance(t, torch.Tensor)
            }
            for storage in storages:
                if storage._cdata not in self._known and storage._cdata not in inputs:
                    self._count(storage)
        return outputs

    def _count(self, storage: torch.UntypedStorage) -> None:
        size = -(-storage.nbytes() // self.ROUNDING) * self.ROUNDING
        key = storage._cdata
        self._known.add(key)
        self.live_bytes += size
        weakref.finalize(storage, self._free, key, size)
        self.peak_bytes = max(self.peak_bytes, self.live_bytes)
        used = self.live_bytes + self.held_bytes
        if self.limit_bytes is not None and used > self.limit_bytes:
            raise torch.OutOfMemoryError(
                f"memory budget of {self.limit_bytes / MIB:.1f} MiB exceeded by "
                f"{(used - self.limit_bytes) / MIB:.1f} MiB"
            )

    def _free(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live_bytes -= size


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out: by its type, then by the CPU allocator's text.

    torch's CPU allocator raises a plain RuntimeError; its message is the only mark.
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator: can't allocate" in str(error)
