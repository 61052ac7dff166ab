"""Start a server on a free loopback port, wait until it is healthy, end all of it.

Every server carries in its environment who started it. So what a killed job leaves behind in spite
of its supervisor is known by the next start, which ends it.
"""

import http.client
import json
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from scripts.lib.kinds.inference import supervisor
from scripts.lib.kinds.inference.frameworks import Launch, filled
from scripts.lib.runtime.session import short_folder

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
# `PID:TICKS:PORT`: who started a server, in the environment of all its processes.
OWNER = "SWEEPMAKE_SERVER_OWNER"
PORT_ATTEMPTS = 3
POLL_SECONDS = 0.1
LOG_LINES = 3
# What servers and torch say last when a model, or the cache beside it, does not fit.
_OUT_OF_MEMORY = re.compile(
    r"OutOfMemoryError|CUDA out of memory|No available memory for the cache blocks"
    r"|larger than the available KV cache memory|Not enough memory\. Please try"
)
_LAST_BYTES = 1 << 16


class ServerError(Exception):
    """A server that does not start, or has ended; the text says why."""


class PortTakenError(ServerError):
    """Another program has the port that was meant for a server."""


@dataclass
class RunningServer:
    """A healthy server: where it is, how it was started, how long that took."""

    url: str
    command: list[str]
    start_seconds: float
    log_path: Path
    process: psutil.Popen | None = field(repr=False)

    def problem(self, patience_s: float = 0.0) -> str:
        """Why the server is no longer there; empty if it still is after `patience_s` seconds."""
        if self.process is None:
            return ""
        with suppress(psutil.TimeoutExpired):
            self.process.wait(timeout=patience_s)
        if self.process.poll() is None:
            return ""
        return f"the server ended (exit {self.process.poll()}){_last_words(self.log_path)}"


@contextmanager
def serve(
    launch: Launch,
    fields: Mapping[str, str],
    log_path: Path,
    timeout_s: float,
    environment: Mapping[str, str] | None = None,
    reserve: Callable[[], socket.socket] | None = None,
) -> Iterator[RunningServer]:
    """Run a server for the time of the block.

    `fields` fills what `launch` leaves open: model, device. `environment` is added to that of this
    process. `reserve` returns a bound socket whose port the server gets; it is closed before the
    start where `launch` says `plain_bind`, else kept. Raises ServerError when the command is not
    there, ends early, is not healthy within `timeout_s` seconds, or finds its port taken again and
    again. When the block is left no process of the server is left.
    """
    end_leftovers()
    for attempt in range(PORT_ATTEMPTS):
        with closing((reserve or reserve_port)()) as held:
            try:
                port = held.getsockname()[1]
                if launch.plain_bind:
                    held.close()
                with _started(launch, fields, log_path, timeout_s, environment, port) as server:
                    yield server
                    return
            except PortTakenError as error:
                if attempt + 1 == PORT_ATTEMPTS:
                    raise
                log.info("%s; trying another port", error)


def reserve_port() -> socket.socket:
    """Bind a free port of the loopback interface and keep it, without listening.

    While the socket is open the kernel gives the port to nobody who asks for any; a server that
    sets SO_REUSEADDR, as servers do, may bind it beside the reservation.
    """
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind((HOST, 0))
    return held


def ran_out_of_memory(log_path: Path) -> bool:
    """Whether the log of a server that has ended says last that memory was too small."""
    with suppress(OSError), log_path.open("rb") as file:
        file.seek(max(0, log_path.stat().st_size - _LAST_BYTES))
        return bool(_OUT_OF_MEMORY.search(file.read().decode(errors="replace")))
    return False


def missing_program(launch: Launch) -> str:
    """Why the command cannot be run here; empty if its program is there."""
    program = filled(launch.command[0], {"python": sys.executable})
    if shutil.which(program, path=_search_path()) is None:
        return f"there is no program {program!r} on this machine"
    if "-m" in launch.command[:2] and launch.command[0] == "{python}":
        module = launch.command[2].partition(".")[0]
        from importlib.util import find_spec

        if find_spec(module) is None:
            return f"the package {module!r} is not installed"
    return ""


def _search_path() -> str:
    """Where programs are looked for: first beside this Python; its environment may be inactive."""
    beside = str(Path(sys.executable).parent)
    return os.pathsep.join([beside, os.environ.get("PATH", os.defpath)])


def end_leftovers() -> list[int]:
    """End the servers whose jobs are gone; returns the ids of the ended processes."""
    left = [
        process
        for process, owner in _served_processes()
        if not _is_alive(owner) and process.pid != os.getpid()
    ]
    if left:
        log.info("ending %d processes of a server whose job is gone", len(left))
    _end(left)
    return [process.pid for process in left]


@contextmanager
def _started(
    launch: Launch,
    fields: Mapping[str, str],
    log_path: Path,
    timeout_s: float,
    environment: Mapping[str, str] | None,
    port: int,
) -> Iterator[RunningServer]:
    config_file = log_path.with_suffix(".config.yaml")
    open_fields = {
        "python": sys.executable, "host": HOST, "port": str(port),
        "config_file": str(config_file), **fields,
    }  # fmt: skip
    command = [filled(argument, open_fields) for argument in launch.command]
    log_path.parent.mkdir(parents=True, exist_ok=True)
    if launch.config_file is not None:
        config_file.write_text(json.dumps(launch.config_file))  # JSON is YAML
    owner = f"{os.getpid()}:{_start_ticks(os.getpid())}:{port}"
    # Servers have sockets there.
    short = {"TMPDIR": folder} if (folder := short_folder()) else {}
    start = time.monotonic()
    with log_path.open("wb") as output:
        process = psutil.Popen(
            [sys.executable, "-I", supervisor.__file__, str(os.getpid()), *command],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            env={**os.environ, "PATH": _search_path(), "PYTHONUNBUFFERED": "1",
                 **short, **(environment or {}), OWNER: owner},
        )  # fmt: skip
    try:
        server = RunningServer(f"http://{HOST}:{port}", command, 0.0, log_path, process)
        _wait_until_healthy(server, launch, port, timeout_s)
        server.start_seconds = time.monotonic() - start
        yield server
    finally:
        _stop(process, owner)


def _wait_until_healthy(server: RunningServer, launch: Launch, port: int, timeout_s: float) -> None:
    end = time.monotonic() + timeout_s
    while True:
        healthy = _answers(port, launch.health)
        ended = server.problem()
        if (healthy or ended) and (other := _other_listener(server.process, port)):
            raise PortTakenError(f"port {port} is taken by {other}")
        if ended and launch.plain_bind and not _can_be_bound(port):
            raise PortTakenError(f"port {port} was taken before the server had it; {ended}")
        if ended:
            raise ServerError(ended)
        if healthy:
            return
        if time.monotonic() > end:
            raise ServerError(
                f"the server was not healthy within {timeout_s:g} s{_last_words(server.log_path)}"
            )
        time.sleep(POLL_SECONDS)


def _answers(port: int, path: str) -> bool:
    with closing(http.client.HTTPConnection(HOST, port, timeout=2)) as connection:
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False


def _can_be_bound(port: int) -> bool:
    """Whether a server that binds plainly could have the port now.

    Asked of the kernel, because a socket that is bound and does not listen is in none of its lists.
    """
    with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def _other_listener(process: psutil.Popen, port: int) -> str:
    """Name of a process that listens on the port and is not below `process`; empty if none."""
    with suppress(psutil.Error):
        ours = {process.pid, *(child.pid for child in process.children(recursive=True))}
        for connection in psutil.net_connections("tcp4"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
            if listens and connection.laddr.ip in (HOST, "0.0.0.0") and connection.pid not in ours:
                name = psutil.Process(connection.pid).name() if connection.pid else "another user"
                return f"another program ({name}, process {connection.pid})"
    return ""


def _stop(process: psutil.Popen, owner: str) -> None:
    """End a supervisor and what it supervises, and whatever of the server outlives that."""
    with suppress(psutil.NoSuchProcess):
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=supervisor.GRACE_SECONDS + 5)
    except psutil.TimeoutExpired:
        process.kill()
        process.wait()
    _end([candidate for candidate, told in _served_processes() if told == owner])


def _served_processes() -> Iterator[tuple[psutil.Process, str]]:
    """Yield the processes of this user that belong to a server, and the owner of each."""
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.uids().real == os.getuid() and (owner := process.environ().get(OWNER)):
                yield process, owner


def _is_alive(owner: str) -> bool:
    try:
        pid, ticks, _ = owner.split(":")
        alive = psutil.Process(int(pid)).status() != psutil.STATUS_ZOMBIE
        return alive and _start_ticks(int(pid)) == int(ticks)
    except (psutil.Error, OSError, ValueError):
        return False


def _start_ticks(pid: int) -> int:
    """Clock ticks from the boot of the machine to the start of a process.

    With the id it names a process for good; the time of day at its start moves with the clock.
    Raises OSError when there is no such process.
    """
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[19])  # field 22 of proc(5); the name before has ended field 2


def _end(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(processes, timeout=10)


def _last_words(path: Path) -> str:
    """Last lines of a log, for a reason; empty where there are none."""
    with suppress(OSError):
        lines = [line.strip() for line in path.read_text(errors="replace").splitlines()]
        if last := " | ".join([line for line in lines if line][-LOG_LINES:]):
            return f": {last[-500:]}"
    return ""
