"""How the ranks of a program find one another, and who is missing when they do not."""

import logging
import os
import time
from datetime import timedelta
from typing import Any

from scripts.lib.runtime.processes import RankLost, placed
from scripts.lib.schema.errors import InputError

log = logging.getLogger(__name__)
POLL_SECONDS = 0.05
# After so long the ranks that have not come are named.
PATIENCE_SECONDS = 15.0
LIMIT_SECONDS = 300.0
_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")

_HINT = "to run alone, unset RANK, WORLD_SIZE, LOCAL_RANK and MASTER_* in this shell"


def meet(timeout: timedelta = timedelta(seconds=LIMIT_SECONDS)) -> tuple[Any, int, int]:
    """Return the key-value store of the ranks, this one's number, and how many there are.

    The environment says where they meet, as torchrun and torch's `env://` have it. Names the ranks
    that are missing after PATIENCE_SECONDS. `timeout` is the store's own, for what is asked of it
    later. Raises RankLost when not all have come after LIMIT_SECONDS, InputError when the
    environment says nothing of use.
    """
    from torch.distributed import PrefixStore

    if missing := [name for name in _VARIABLES if name not in os.environ]:
        raise InputError(f"{', '.join(missing)}: not set, though WORLD_SIZE is; {_HINT}")
    rank, size = placed("RANK"), placed("WORLD_SIZE")
    start = time.monotonic()
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    store = PrefixStore(f"sweepmake/{attempt}", _connect(rank, size, start))
    store.set_timeout(timeout)
    store.set(f"arrived/{rank}", "1")
    _await_all(store, size, start)
    return store, rank, size


def _connect(rank: int, size: int, start: float) -> Any:
    """Connect to the store; rank 0 keeps it, unless torchrun does."""
    from torch.distributed import DistError, TCPStore

    host, port = os.environ["MASTER_ADDR"], placed("MASTER_PORT")
    keeps = rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    told = False
    while True:
        began = time.monotonic()
        try:
            return TCPStore(
                host, port, size, keeps, timedelta(seconds=PATIENCE_SECONDS),
                wait_for_workers=False, multi_tenant=True,
            )  # fmt: skip
        except DistError as error:
            reason = str(error).splitlines()[0]
            now = time.monotonic()
            if keeps or now - began < PATIENCE_SECONDS / 2 or now - start >= LIMIT_SECONDS:
                raise RankLost(f"the ranks did not meet: {reason}") from None
        if not told:
            log.warning("%s", _missing([0], f"nobody answers at {host}:{port}"))
            told = True


def _await_all(store: Any, size: int, start: float) -> None:
    told, missing = False, list(range(size))
    while True:
        missing = [other for other in missing if not store.check([f"arrived/{other}"])]
        if not missing:
            return
        waited = time.monotonic() - start
        if waited >= LIMIT_SECONDS:
            raise RankLost(_missing(missing, f"waited {waited:.0f} s"))
        if waited >= PATIENCE_SECONDS and not told:
            log.warning("%s", _missing(missing, f"waiting for {waited:.0f} s already"))
            told = True
        time.sleep(POLL_SECONDS)


def _missing(ranks: list[int], why: str) -> str:
    names = ", ".join(map(str, ranks[:8])) + (", ..." if len(ranks) > 8 else "")
    size = os.environ["WORLD_SIZE"]
    return f"rank {names} of {size} has not arrived ({why}); {_HINT}"
