"""What the session that a program is started from may set, and must not matter."""

import multiprocessing.util
import os
import resource
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress

# A Unix socket's address has at most 107 bytes (sun_path, less its closing zero).
SOCKET_PATH_BYTES = 107
# The longest that is put behind the temporary folder: `/pymp-XXXXXXXX/listener-XXXXXXXX` by
# `multiprocessing`, a slash and a UUID by vLLM.
_SOCKET_NAME_BYTES = 40
# In the order tried where TMPDIR is too long.
_SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")


def be_independent() -> None:
    """Draw without a display whatever MPLBACKEND says, and keep sockets' addresses short.

    A notebook sets MPLBACKEND to a module that only its kernel has. Call it before matplotlib is
    imported and before a process is started.
    """
    os.environ["MPLBACKEND"] = "Agg"
    if short := short_folder():
        _put_sockets_into(short)


def short_folder() -> str | None:
    """Return where sockets go in place of TMPDIR; None where TMPDIR is short enough.

    None, too, where there is no shorter folder to write to.
    """
    if len(os.fsencode(tempfile.gettempdir())) + _SOCKET_NAME_BYTES <= SOCKET_PATH_BYTES:
        return None
    return next((path for path in _SHORT_FOLDERS if os.access(path, os.W_OK | os.X_OK)), None)


@contextmanager
def many_open_files() -> Iterator[None]:
    """Raise the soft limit of open files to the hard one for the block: a connection is a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS refuses an unlimited hard limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield
    finally:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _put_sockets_into(folder: str) -> None:
    """Make `multiprocessing` keep its sockets in `folder`; all other files stay in TMPDIR."""
    before, tempfile.tempdir = tempfile.tempdir, folder
    try:
        multiprocessing.util.get_temp_dir()  # made once a process, removed at its end
    finally:
        tempfile.tempdir = before
