"""Checkpoints of a data-parallel run, from which it continues with the same batches.

They hold plain data and tensors only, so that reading one runs no code.
"""

import hashlib
from pathlib import Path
from typing import Any

import torch

from scripts.lib.config.ddp import DdpRun
from scripts.lib.results.files import atomic_path

NAME = "checkpoint.pt"


def save(folder: Path, run: DdpRun, state: dict[str, Any]) -> None:
    """Write a checkpoint of a run into its folder, whole or not at all, in place of the last.

    `state` is of plain data and tensors.
    """
    with atomic_path(folder / NAME) as temporary:
        torch.save({"settings": _digest(run), **state}, temporary)


def load(folder: Path, run: DdpRun, device: torch.device) -> dict[str, Any] | None:
    """Read the checkpoint in `folder`; None where there is none that is whole and of this run."""
    path = folder / NAME
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        return state if state["settings"] == _digest(run) else None
    except Exception:  # damage shows in as many ways as there are bytes
        return None


def remove(folder: Path) -> None:
    """Remove the checkpoint of a finished run, so that the next call begins anew."""
    (folder / NAME).unlink(missing_ok=True)


def _digest(run: DdpRun) -> str:
    return hashlib.sha256(run.model_dump_json().encode()).hexdigest()
