"""Collect where and with what a result is measured."""

import os
import platform
import socket
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path

import psutil

from scripts.lib.devices.record import DeviceRecord, cpu_model
from scripts.lib.devices.units import MIB
from scripts.lib.results.result import Provenance

PACKAGES = (
    "torch", "transformers", "tokenizers", "numpy", "snakemake", "triton", "flash-attn", "vllm",
    "sglang", "tensorrt_llm",
)  # fmt: skip


def now() -> str:
    """Present time in UTC, ISO 8601, milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def collect_provenance(
    started_at: str, device: DeviceRecord | None, seed: int | None
) -> Provenance:
    """Provenance of a measurement that began at `started_at` and ends now."""
    commit, dirty = git_state()
    return Provenance(
        started_at=started_at,
        ended_at=now(),
        host=socket.gethostname(),
        platform=platform.platform(),
        cpu_model=cpu_model(),
        cpu_count=os.cpu_count() or 1,
        memory_mib=round(psutil.virtual_memory().total / MIB, 1),
        device_name=device.name if device else None,
        device_memory_mib=device.memory_mib if device else None,
        driver_version=device.driver_version if device else None,
        cuda_version=device.cuda_version if device else None,
        git_commit=commit,
        git_dirty=dirty,
        python_version=platform.python_version(),
        packages=_versions(),
        seed=seed,
    )


@cache
def git_state() -> tuple[str | None, bool | None]:
    """Commit of this workflow and whether tracked files differ from it; none without git."""
    root = Path(__file__).parents[3]

    def git(*arguments: str) -> str | None:
        command = ["git", "-C", str(root), *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    # A checkout of some other project around an unpacked archive is not our commit.
    top = git("rev-parse", "--show-toplevel")
    if top is None or not root.samefile(top):
        return None, None
    commit, changes = git("rev-parse", "HEAD"), git("status", "--porcelain", "-uno")
    return commit, None if changes is None else bool(changes)


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
