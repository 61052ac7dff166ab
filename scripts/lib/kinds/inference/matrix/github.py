"""A GitHub Actions matrix: its text, and its two limits."""

import json
from collections.abc import Sequence
from itertools import accumulate

from scripts.lib.kinds.inference.matrix.blocks import Point
from scripts.lib.kinds.inference.matrix.matrix import Matrix
from scripts.lib.schema.errors import InputError
from scripts.lib.sweeps.batches import batch_count, batch_slices

# Documented limits: jobs that one matrix may generate, and the size of a job's outputs, which
# GitHub counts as UTF-16.
MAX_ENTRIES = 256
MAX_BYTES = 1 << 20

_EMPTY = '{"include":[]}'


def github_text(points: Sequence[Point], matrix: Matrix) -> str:
    """JSON text `{"include": [...]}` of some points of `matrix`, on one line.

    Raises InputError where GitHub would refuse it, naming the batch size that fits `matrix`.
    """
    text = json.dumps({"include": points}, separators=(",", ":"))
    if len(points) <= MAX_ENTRIES and _utf16_bytes(text) <= MAX_BYTES:
        return text
    size = largest_batch_size(matrix.points())
    last = batch_count(len(matrix), size) - 1
    raise InputError(
        f"{len(points)} entries, {_utf16_bytes(text)} bytes as UTF-16: more than a GitHub matrix "
        f"takes ({MAX_ENTRIES} entries, {MAX_BYTES} bytes); use --max-batch-size {size}, which "
        f"makes {last + 1} batches: --batch-index 0 to {last}"
    )


def largest_batch_size(points: Sequence[Point]) -> int:
    """Largest batch size with which every batch of `points` keeps both limits.

    Raises InputError for a point that is too large on its own.
    """
    sizes = [_utf16_bytes(json.dumps(point, separators=(",", ":")) + ",") for point in points]
    until = [0, *accumulate(sizes)]
    room = MAX_BYTES - _utf16_bytes(_EMPTY)
    for size in range(MAX_ENTRIES, 0, -1):
        parts = (part.indices(len(points)) for part in batch_slices(len(points), size))
        if all(until[stop] - until[start] <= room for start, stop, _ in parts):
            return size
    raise InputError(f"a single entry is larger than the {MAX_BYTES} bytes of a GitHub output")


def _utf16_bytes(text: str) -> int:
    return len(text.encode("utf-16-le"))
