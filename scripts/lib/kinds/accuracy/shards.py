"""Lines of finished batches: each rank's share, resuming with any number of ranks, the union.

A line is one batch, written whole: `{"samples": [...], "batch_size": ..., "vision_ms": ...}`. What
a killed rank left behind its last whole line is passed over.
"""

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from scripts.lib.results.files import write_text
from scripts.lib.schema.errors import InputError

FINGERPRINT = "fingerprint.json"


def share_of(ids: Sequence[int], done: set[int], rank: int, world: int) -> list[int]:
    """Places in `ids` that a rank has to do: every `world`-th of those that are not done."""
    rest = [place for place, number in enumerate(ids) if number not in done]
    return rest[rank::world]


def open_lines(folder: Path, fingerprint: str) -> None:
    """Prepare a folder of lines; those of another checkpoint or of other settings are dropped."""
    path = folder / FINGERPRINT
    with suppress(OSError, ValueError):
        if json.loads(path.read_text()) == fingerprint:
            return
    clear_lines(folder)
    write_text(path, json.dumps(fingerprint) + "\n")


def clear_lines(folder: Path) -> None:
    """Remove all lines and what says whose they were."""
    for path in [folder / FINGERPRINT, *folder.glob("batches-*.jsonl")]:
        path.unlink(missing_ok=True)


def read_lines(folder: Path) -> list[dict[str, Any]]:
    """Read the whole lines of all ranks, of this and of earlier calls."""
    found = []
    for path in sorted(folder.glob("batches-*.jsonl")):
        for line in path.read_bytes().split(b"\n"):
            with suppress(ValueError):
                batch = json.loads(line)
                if isinstance(batch, dict) and "samples" in batch:
                    found.append(batch)
    return found


def done_ids(batches: Sequence[dict[str, Any]]) -> set[int]:
    """Numbers of the samples that are done."""
    return {sample["id"] for batch in batches for sample in batch["samples"]}


def append_line(folder: Path, rank: int, batch: dict[str, Any]) -> None:
    """Append a finished batch to the lines of a rank."""
    path = folder / f"batches-{rank}.jsonl"
    with path.open("ab+") as file:
        file.seek(0, os.SEEK_END)
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":  # the end of a line that a killed rank did not finish
                file.write(b"\n")
        file.write(json.dumps(batch, separators=(",", ":")).encode() + b"\n")


def union(batches: Sequence[dict[str, Any]], ids: Sequence[int]) -> list[dict[str, Any]]:
    """Return the samples of all batches by number. Raises InputError unless each is there once.

    One that is there twice with the same answer, after two calls at once, counts as one.
    """
    once = {json.dumps(s, sort_keys=True): s for batch in batches for s in batch["samples"]}
    samples = sorted(once.values(), key=lambda sample: sample["id"])
    found = [sample["id"] for sample in samples]
    if found == sorted(ids):
        return samples
    missing = sorted(set(ids) - set(found))
    foreign = sorted(set(found) - set(ids))
    double = sorted({number for number in found if found.count(number) > 1})
    told = [f"{what} {numbers[:5]}" for what, numbers in
            (("missing", missing), ("twice", double), ("unknown", foreign)) if numbers]  # fmt: skip
    raise InputError(
        f"the ranks' samples are no whole: {'; '.join(told)}; remove the lines in the folder "
        "accuracy beside the output to begin anew"
    )
