"""What every step of every rank writes down: rows of CSV files, and the arrays read back."""

import csv
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from scripts.lib.results.files import atomic_path, write_text
from scripts.lib.results.result import Effective
from scripts.lib.schema.errors import InputError


@dataclass
class Record:
    """One step of one rank. Times are in milliseconds; the schedule is inside the step time.

    `compute_ms` begins with putting the batch together. `cost` is the largest of all ranks by the
    run's cost type, `cost_bound` what no schedule of the samples can beat. `loss` is the mean over
    this rank's `targets`.
    """

    step: int
    rank: int
    local_batch: int
    max_seq_len_in_batch: int
    real_tokens: int
    padded_tokens: int
    compute_ms: float
    wait_ms: float
    allreduce_ms: float
    optimizer_ms: float
    schedule_ms: float
    step_time_ms: float
    cpu_ms: float
    peak_mem_mib: float
    loss: float
    targets: int
    throughput_samples_per_s: float
    throughput_tokens_per_s: float
    cost: float
    cost_bound: float


COLUMNS = tuple(field.name for field in fields(Record))


class RankFile:
    """The CSV file of one rank; rows are written at the end of a block, not within a step."""

    def __init__(self, path: Path, keep_steps: int = 0):
        """Begin the file, keeping the rows of the first `keep_steps` steps of an earlier one."""
        kept = first_rows(path, keep_steps)
        if len(kept) < keep_steps:
            raise InputError(f"{path}: lacks steps before {keep_steps}, where the run goes on")
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(kept)
        self.path, self._rows = path, []

    def add(self, record: Record) -> None:
        """Keep a record until `flush`."""
        self._rows.append(asdict(record))

    def flush(self) -> None:
        """Append what was kept."""
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, COLUMNS).writerows(self._rows)
            file.flush()
            os.fsync(file.fileno())
        self._rows.clear()


def first_rows(path: Path, steps: int) -> list[dict[str, str]]:
    """Rows of the first `steps` steps in the file of a rank; fewer where it ends or is damaged."""
    if not steps or not path.exists():
        return []
    rows = []
    with path.open(newline="", errors="replace") as file:
        for row in islice(csv.DictReader(file), steps):
            if row.keys() != set(COLUMNS) or row["step"] != str(len(rows)) or None in row.values():
                break
            rows.append(row)
    return rows


def merge(folder: str | Path) -> Path:
    """Write `merged_metrics.csv` of a run directory from the files of its ranks."""
    folder = Path(folder)
    rows = [row for path in _rank_files(folder) for row in _rows(path)]
    rows.sort(key=lambda row: (int(row["step"]), int(row["rank"])))
    with (
        atomic_path(folder / "merged_metrics.csv") as temporary,
        temporary.open("w", newline="") as file,
    ):
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return folder / "merged_metrics.csv"


def read_run(folder: str | Path) -> dict[str, np.ndarray]:
    """Read the merged records of a run directory: arrays of shape (steps, ranks) by column.

    Raises InputError when they are missing or not whole.
    """
    path = Path(folder, "merged_metrics.csv")
    if not path.exists():
        raise InputError(f"{folder}: is no run directory: it has no merged_metrics.csv")
    rows = _rows(path)
    ranks = len({row.get("rank") for row in rows})
    whole = all(row.keys() == set(COLUMNS) and None not in row.values() for row in rows)
    if not rows or len(rows) % ranks or not whole:
        raise InputError(f"{path}: has not the same steps for every rank")
    try:
        return {
            name: np.array([float(row[name]) for row in rows]).reshape(-1, ranks)
            for name in COLUMNS
        }
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: {error}") from None


def write_csv(path: str | Path, rows: Iterable[dict[str, object]]) -> None:
    """Write rows with the same keys as a CSV file."""
    rows = list(rows)
    with atomic_path(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_text_summary(folder: Path, lengths: np.ndarray, eval_samples: int) -> None:
    """Write how many samples of each length a run had to `text.json` of its directory."""
    summary = {
        "train_samples": len(lengths),
        "eval_samples": eval_samples,
        "length_counts": np.bincount(lengths).tolist(),
    }
    write_text(folder / "text.json", json.dumps(summary) + "\n")


def write_effective(folder: Path, effective: Effective) -> None:
    """Write what a run ran with to `effective.json` of its directory."""
    write_text(folder / "effective.json", effective.model_dump_json() + "\n")


def read_effective(folder: str | Path) -> Effective | None:
    """Read `effective.json` of a run directory; None in one of an older version."""
    path = Path(folder, "effective.json")
    if not path.exists():
        return None
    try:
        return Effective.model_validate_json(path.read_text())
    except ValueError as error:
        raise InputError(f"{path}: not valid: {error}") from None


def read_text_summary(folder: str | Path) -> dict[str, Any]:
    """Read `text.json` of a run directory. Raises InputError where there is none, or not whole."""
    path = Path(folder, "text.json")
    try:
        found = json.loads(path.read_text())
        counts = np.array(found["length_counts"], dtype=np.int64)
        if counts.ndim != 1 or counts.sum() < 1:
            raise ValueError("length_counts are no counts of samples")
        return {name: found[name] for name in ("train_samples", "eval_samples", "length_counts")}
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path}: is no summary of a text: {error}") from None


def read_evaluation(folder: str | Path) -> dict[str, float]:
    """Read loss and accuracy of the evaluation from `summary.csv`. Raises InputError."""
    path = Path(folder, "summary.csv")
    try:
        row = (_rows(path) or [{}])[0]
        return {name: float(row[name]) for name in ("eval_loss", "eval_accuracy")}
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path}: has no evaluation: {error}") from None


def _rank_files(folder: Path) -> list[Path]:
    found = (folder / "metrics").glob("rank*.csv")
    return sorted(found, key=lambda path: int(path.stem.removeprefix("rank")))


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
