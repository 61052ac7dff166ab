"""Hand out the devices of a machine by file locks, so that no two jobs share one.

Snakemake counts `gpu` resources but names no device; without help every local job would use
GPU 0. A lock is an flock on a file a device: the kernel frees it when its holder ends, however it
ends, so a killed job leaves nothing behind. On a CPU the one lock `cpu` keeps measurements of
several workflows, or of a job that outlived its workflow, from running side by side.
"""

import fcntl
import logging
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import takewhile
from pathlib import Path
from typing import IO

from scripts.lib.schema.errors import InputError

log = logging.getLogger(__name__)
POLL_SECONDS = 0.05
# What names a GPU: an index, or the UUID of a GPU or of a part of one.
_GPU_NAME = re.compile(r"\d+|(GPU|MIG)-[\w/-]+")


def visible_gpus() -> list[str]:
    """Indices or UUIDs of the GPUs that this process may use, without loading CUDA.

    `CUDA_VISIBLE_DEVICES` where it is set, read as CUDA does: up to the first that names no GPU.
    Else all that the driver lists.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        names = (name.strip() for name in visible.split(","))
        return list(takewhile(_GPU_NAME.fullmatch, names))
    try:
        listed = subprocess.run(
            ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    if listed.returncode:
        return []
    # Among the indices the tool tells of GPUs that it has lost.
    return [line for line in map(str.strip, listed.stdout.splitlines()) if line.isdecimal()]


def resolve_device(device: str, count: int = 1) -> str:
    """Return `cuda` or `cpu` for `count` processes of a run that asks for `device`.

    `auto` takes the CPU where there are fewer GPUs than `count`, or no driver, whatever devices the
    environment promises. Raises InputError when `cuda` is asked for and fewer are there.
    """
    gpus = visible_gpus() if device == "cuda" or (device == "auto" and _has_driver()) else []
    if device == "cuda" and len(gpus) < count:
        raise InputError(f"device: cuda needs {count} GPU(s), but this process sees {len(gpus)}")
    return "cuda" if len(gpus) >= count else "cpu"


@contextmanager
def claim(device: str, count: int = 1) -> Iterator[str]:
    """Hold `count` GPUs, or the CPU, for the time of the block and yield `cuda` or `cpu`.

    For GPUs `CUDA_VISIBLE_DEVICES` names the held ones, so enter the block before torch is
    imported. `device` and what is raised: see `resolve_device`.
    """
    with ExitStack() as held:
        if resolve_device(device, count) == "cpu":
            _lock(["cpu"], 1, held)
            yield "cpu"
            return
        gpus = visible_gpus()
        names = _lock(gpus, count, held)
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(names)
        try:
            yield "cuda"
        finally:
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)


def _has_driver() -> bool:
    """Whether a GPU driver is on this machine: NVIDIA's, its like in WSL, or AMD's."""
    return any(map(os.path.exists, ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")))


def _lock(names: Sequence[str], count: int, held: ExitStack) -> list[str]:
    """Lock `count` of `names`, waiting as long as it takes, and keep them open in `held`.

    All or none are kept between attempts, so that two jobs that want two devices each never hold
    one each for ever. Those who wait for the same devices queue at a lock of their own; others
    pass.
    """
    folder = _lock_folder()
    with (folder / _file_name("queue", *sorted(names))).open("a") as queue:
        fcntl.flock(queue, fcntl.LOCK_EX)
        told, start = False, time.monotonic()
        while True:
            with ExitStack() as attempt:
                taken: list[str] = []
                for name in names:
                    path = folder / _file_name("device", name)
                    if len(taken) < count and (handle := _try_lock(path)):
                        attempt.enter_context(handle)
                        taken.append(name)
                if len(taken) == count:
                    held.enter_context(attempt.pop_all())
                    return taken
            if not told and time.monotonic() - start > 5:
                log.info("waiting for a free device (%s)", ", ".join(names))
                told = True
            time.sleep(POLL_SECONDS)


def _try_lock(path: Path) -> IO[str] | None:
    handle = path.open("a+")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.close()
        return None
    handle.truncate(0)
    handle.write(f"{os.getpid()}\n")
    handle.flush()
    return handle


def _file_name(*parts: str) -> str:
    """File name for device names, which may have slashes (`MIG-GPU-.../7/0`)."""
    return re.sub(r"[^\w.-]", "_", "-".join(parts))[:200]


def _lock_folder() -> Path:
    """Folder of the locks: one a user, and within Slurm one a job, whose indices are its own."""
    base = os.environ.get("SWEEPMAKE_LOCKS") or tempfile.gettempdir()
    job = os.environ.get("SLURM_JOB_ID")
    folder = Path(base) / "-".join(filter(None, ["sweepmake", str(os.getuid()), job]))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder
