"""Python's garbage collector, kept out of the way where large plain data is built."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused_collector() -> Iterator[None]:
    """Pause the cyclic collector, as context or decorator.

    Half a million new objects without a cycle among them make it search all of them again and
    again: half the time of reading a large file, for nothing.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
