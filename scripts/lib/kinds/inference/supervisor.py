"""Run a server and end all of it when this process is told to end, or when its parent is gone.

    python -I supervisor.py PARENT_PID COMMAND [ARGUMENT ...]

A process of its own, because a job that is killed cannot clean up after itself: the kernel tells
this one. It leads the process group of the server, adopts what the server leaves behind, and takes
all of it down. Only the standard library, so that it starts in milliseconds.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

GRACE_SECONDS = 5.0
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def main(arguments: list[str]) -> int:
    """Run the command; returns its exit code, or 143 where it was ended from outside."""
    parent, *command = arguments
    ending: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda signum, frame: ending.append(signum))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    if os.getppid() != int(parent):  # it ended before the kernel was asked to tell
        return 143
    # Should this process be killed, too, the server goes with it.
    server = subprocess.Popen(
        command, preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    )
    while not ending and server.poll() is None:
        time.sleep(0.02)
    code = server.poll()
    _end(server)
    return 143 if code is None else code if code >= 0 else 128 - code


def _end(server: subprocess.Popen) -> None:
    """End every descendant: first a request, after the grace the kernel."""
    for child in _descendants():
        _kill(child, signal.SIGTERM)
    end = time.monotonic() + GRACE_SECONDS
    while time.monotonic() < end and _descendants():
        _reap(server)
        time.sleep(0.02)
    while remaining := _descendants():
        for child in remaining:
            _kill(child, signal.SIGKILL)
        _reap(server)
        time.sleep(0.02)


def _descendants() -> list[int]:
    """Ids of all living processes below this one; orphans among them were adopted."""
    parents: dict[int, list[int]] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208
        with suppress(OSError, ValueError), open(f"/proc/{name}/stat") as stat:  # noqa: PTH123
            state, parent = stat.read().rpartition(")")[2].split()[:2]
            if state != "Z":
                parents.setdefault(int(parent), []).append(int(name))
    found, queue = [], [os.getpid()]
    while queue:
        below = parents.get(queue.pop(), [])
        found += below
        queue += below
    return found


def _kill(process: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(process, number)


def _reap(server: subprocess.Popen) -> None:
    server.poll()
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
