"""One workflow a directory, by a lock that ends with its holder; and what that one is at."""

import base64
import fcntl
import os
import socket
from collections.abc import Iterator
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
        handle.close()
        raise InputError(
            f"another sweepmake workflow ({holder}) runs in {Path.cwd()}; wait for it or use "
            f"another --directory; if no such process is there any more: rm {path}"
        ) from None
    except OSError:
        return None
    handle.truncate(0)
    handle.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    handle.flush()
    _held.append(handle)
    return handle


def holder_of_lock(path: str | Path) -> str | None:
    """Tell who holds the lock of a working directory, without taking it; None if nobody."""
    try:
        with Path(path).open() as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return Path(path).read_text().strip() or "unknown"
    except OSError:
        return None
    return None


def marked_as_running(folder: Path) -> set[str]:
    """Outputs of the workflow in `folder` whose job has begun, or is queued, and not ended.

    Snakemake marks such a job's files below `.snakemake/incomplete`. Marks outlive a killed
    workflow, so they mean nothing unless one is alive.
    """
    return {path for _, path in paths_of_records(folder / ".snakemake" / "incomplete")}


def paths_of_records(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield each of Snakemake's records in a folder, and the path of the output it is about.

    A record is named by the base64 of that path, in parts of a file name's length.
    """
    for record in folder.rglob("*"):
        if record.is_file():
            encoded = "".join(part.removeprefix("@") for part in record.relative_to(folder).parts)
            yield record, base64.b64decode(encoded, altchars=b"-_").decode()
