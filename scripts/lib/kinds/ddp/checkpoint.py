"""Checkpoints of a data-parallel run, from which it continues with the same batches.

They hold plain data and tensors only, so that reading one runs no code.
"""

from pathlib import Path
from typing import Any

import torch

from scripts.lib.results.files import atomic_path

NAME = "checkpoint.pt"


def save(folder: Path, identity: str, state: dict[str, Any]) -> None:
    """Write a checkpoint of a run into its folder, whole or not at all, in place of the last.

    `identity` is of all that the run's steps rest on, `state` of plain data and tensors.
    """
    with atomic_path(folder / NAME) as temporary:
        torch.save({"identity": identity, **state}, temporary)


def load(folder: Path, identity: str) -> dict[str, Any] | None:
    """Read the checkpoint in `folder` into the memory of the host.

    None where there is none that is whole and of this identity.
    """
    path = folder / NAME
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return state if state["identity"] == identity else None
    except Exception:  # damage shows in as many ways as there are bytes
        return None


def remove(folder: Path) -> None:
    """Remove the checkpoint of a finished run, so that the next call begins anew."""
    (folder / NAME).unlink(missing_ok=True)
