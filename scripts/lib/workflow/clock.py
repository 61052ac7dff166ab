"""Files from the future, after a clock was set back."""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

# Clocks of a file server and its clients differ a little.
TOLERANCE_SECONDS = 5.0


def settle_future_files(folder: str | Path) -> int:
    """Date files below `folder` that are from the future to now, in their order; tell how many.

    Otherwise whatever is made from them now would be older than they are, and Snakemake would call
    it out of date for as long as the clock was set back.
    """
    now = time.time()
    future = sorted(found for found in _dated(folder) if found[0] > now + TOLERANCE_SECONDS)
    for order, (_, path) in enumerate(future):
        # A microsecond apart, and all before what is made next.
        stamp = now - (len(future) - order) * 1e-6
        with suppress(OSError):  # read-only: the first job tells
            os.utime(path, (stamp, stamp))
    return len(future)


def _dated(folder: str | Path) -> Iterator[tuple[float, str]]:
    """Yield modification times and paths of files; as text, because there may be many."""
    for base, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):  # of another workflow that is at work there
                path = f"{base}/{name}"
                yield Path(path).stat().st_mtime, path
