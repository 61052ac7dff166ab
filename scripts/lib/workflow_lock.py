"""One workflow a directory, by a lock that ends with its holder."""

import fcntl
import os
import socket
from pathlib import Path
from typing import IO

from scripts.lib.schema.errors import InputError

# Relative to the working directory.
WORKFLOW_LOCK = ".snakemake/sweepmake.lock"

# Open until the process ends, and with them the locks.
_held: list[IO[str]] = []


def hold_lock(path: str | Path) -> IO[str] | None:
    """Take the lock of a working directory, kept until the process ends or its handle is closed.

    The kernel frees it when the process ends, even by SIGKILL, so nothing has to be unlocked by
    hand. Raises InputError when another workflow holds it. On a file system without locks there
    is none.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = path.open("a+")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.seek(0)
        holder = handle.read().strip() or "unknown"
        raise InputError(
            f"another sweepmake workflow ({holder}) runs in {Path.cwd()}; "
            "wait for it or use another --directory"
        ) from None
    except OSError:
        return None
    handle.truncate(0)
    handle.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    handle.flush()
    _held.append(handle)
    return handle
