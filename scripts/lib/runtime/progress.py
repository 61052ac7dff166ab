"""Progress of a long job: a bar with the time left on a terminal, plain lines in a log."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

log = logging.getLogger(__name__)
LINE_SECONDS = 10.0


class Advance(Protocol):
    """Tells that `steps` more of the total are done."""

    def __call__(self, steps: int = 1) -> None:
        """Advance by `steps`."""


@contextmanager
def progress(what: str, total: int, say: Callable[..., None] = log.info) -> Iterator[Advance]:
    """Show how far `what` is; call what is yielded after each of `total` steps.

    On a terminal this is a bar on stderr. In a log it is a line at the start, at most one every
    ten seconds, and one at the end, given to `say` as a format and its values.
    """
    if sys.stderr.isatty():
        from tqdm import tqdm

        with tqdm(total=total, desc=what, file=sys.stderr, dynamic_ncols=True) as bar:
            yield bar.update
        return
    lines = _Lines(what, total, say)
    yield lines.advance
    lines.end()


class _Lines:
    def __init__(self, what: str, total: int, say: Callable[..., None]):
        self.what, self.total, self.done, self.say = what, total, 0, say
        self.start = self.shown = time.monotonic()
        say("%s: 0 of %d", what, total)

    def advance(self, steps: int = 1) -> None:
        self.done += steps
        now = time.monotonic()
        if now - self.shown >= LINE_SECONDS and self.done < self.total:
            self.shown = now
            left = (now - self.start) / self.done * (self.total - self.done)
            self.say("%s: %d of %d, %.0f s left", self.what, self.done, self.total, left)

    def end(self) -> None:
        self.say(
            "%s: %d of %d in %.1f s",
            self.what,
            self.done,
            self.total,
            time.monotonic() - self.start,
        )
