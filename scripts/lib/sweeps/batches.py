"""Batches: slices of an order, so that their concatenation is the whole."""

from collections.abc import Iterator

from scripts.lib.schema.errors import InputError


def batch_count(total: int, max_batch_size: int) -> int:
    """Number of batches of at most `max_batch_size` (from 1) that `total` items make."""
    return -(-total // max_batch_size)


def batch_slice(index: int, total: int, max_batch_size: int) -> slice:
    """Slice of batch `index` (from 0); raises InputError where there is no such batch."""
    last = batch_count(total, max_batch_size) - 1
    if not 0 <= index <= last:
        raise InputError(f"Invalid batch-index {index}. Valid range is 0 to {last}")
    return slice(index * max_batch_size, (index + 1) * max_batch_size)


def batch_slices(total: int, max_batch_size: int) -> Iterator[slice]:
    """Yield the slice of each batch."""
    for index in range(batch_count(total, max_batch_size)):
        yield batch_slice(index, total, max_batch_size)
