"""Ranks under torchrun that exchange values without a process group.

Ranks meet at the key-value store whose address torchrun puts into the environment. Each says there
once a second that it is alive, so that nobody waits for a rank that is gone.
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from scripts.lib.runtime.meeting import meet
from scripts.lib.runtime.processes import RankLost, placed

log = logging.getLogger(__name__)
POLL_SECONDS = 0.02
BEAT_SECONDS = 1.0
# A rank that is silent for so long is gone.
PATIENCE_SECONDS = 15.0


class Store(Protocol):
    """What is used of torch's key-value stores."""

    def set(self, key: str, value: str) -> None:
        """Store a value."""

    def get(self, key: str) -> bytes:
        """Return a value, waiting for it."""

    def check(self, keys: list[str]) -> bool:
        """Whether all keys have values."""


class Ranks:
    """The ranks of one program; alone, without a store, there is one."""

    def __init__(self, store: Store | None = None, rank: int = 0, size: int = 1):
        """Join as `rank` of `size` and begin to say that this rank is alive."""
        self.rank, self.size = rank, size
        self._store, self._lock = store, threading.Lock()
        self._round = 0
        self._ended = threading.Event()
        self._heard: dict[int, tuple[bytes, float]] = {}
        if store:
            threading.Thread(target=self._beat, daemon=True).start()

    def gather(self, value: Any) -> list[Any]:
        """Return what each rank gave in the same call, in their order; `value` must be JSON.

        Raises RankLost when a rank failed or fell silent.
        """
        if not self._store:
            return [value]
        self._round += 1
        self._ask(self._store.set, f"{self._round}/{self.rank}", json.dumps(value))
        found: dict[int, Any] = {}
        while len(found) < self.size:
            for rank in range(self.size):
                key = f"{self._round}/{rank}"
                if rank in found:
                    continue
                if self._ask(self._store.check, [key]):
                    found[rank] = json.loads(self._ask(self._store.get, key))
                else:
                    self._require_alive(rank)
            if len(found) < self.size:
                time.sleep(POLL_SECONDS)
        return [found[rank] for rank in range(self.size)]

    def leave(self, reason: str = "") -> None:
        """End this rank's part; with a reason the others are told that it failed.

        Rank 0 may keep the store, so it stays until all have left.
        """
        if self._store and not self._ended.is_set():
            with suppress(RankLost):
                if reason:
                    self._ask(self._store.set, f"failed/{self.rank}", reason)
                elif self.rank == 0:
                    self.gather("left")
                else:
                    self._ask(self._store.set, f"{self._round + 1}/{self.rank}", '"left"')
        self._ended.set()

    def _require_alive(self, rank: int) -> None:
        if self._ask(self._store.check, [f"failed/{rank}"]):
            reason = self._ask(self._store.get, f"failed/{rank}").decode()
            raise RankLost(f"rank {rank} failed: {reason}")
        key, now = f"alive/{rank}", time.monotonic()
        beat = self._ask(self._store.get, key) if self._ask(self._store.check, [key]) else b""
        known, since = self._heard.setdefault(rank, (beat, now))
        if beat != known:
            self._heard[rank] = (beat, now)
        elif now - since > PATIENCE_SECONDS:
            raise RankLost(
                f"rank {rank} has died: nothing heard of it for {PATIENCE_SECONDS:.0f} s; "
                "its own output says why"
            )

    def _beat(self) -> None:
        count = 0
        with suppress(RankLost):
            while not self._ended.wait(BEAT_SECONDS if count else 0):
                count += 1
                self._ask(self._store.set, f"alive/{self.rank}", str(count))

    def _ask(self, function: Callable, *arguments: Any) -> Any:
        with self._lock:
            try:
                return function(*arguments)
            except RuntimeError as error:  # torch's errors of a lost connection
                raise RankLost(
                    f"the store of the ranks is gone, with the rank or launcher that "
                    f"kept it: {str(error).splitlines()[0]}"
                ) from None


@contextmanager
def joined_ranks() -> Iterator[Ranks]:
    """Join the ranks that torchrun started, or be alone; tell the others when the block fails."""
    if placed("WORLD_SIZE") == 1:
        yield Ranks()
        return
    ranks = Ranks(*meet())
    try:
        yield ranks
    except RankLost:
        raise
    except SystemExit:
        log.error(
            "rank %d is ended from outside, as torchrun does when another rank has died", ranks.rank
        )
        raise
    except BaseException as error:
        ranks.leave(" ".join(f"{type(error).__name__}: {error}".split())[:500])
        raise
    else:
        ranks.leave()
