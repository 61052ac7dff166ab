"""Collect results into tables: every expected run has its row, or is named as missing."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from pydantic import AfterValidator, Field

from scripts.lib.config.runs import RUN_PATTERN
from scripts.lib.kinds.registry import KINDS
from scripts.lib.runtime.progress import progress
from scripts.lib.schema.base import Name, StrictModel
from scripts.lib.schema.errors import InputError
from scripts.lib.summary.rows import (
    columns_of_all,
    detailed_columns_of,
    detailed_rows_of,
    missing_row,
    row_of,
)


def _known(kind: str) -> str:
    if kind not in KINDS:
        raise ValueError(f"must be one of {', '.join(KINDS)}")
    return kind


class Batch(StrictModel):
    """The runs of one batch file `results/batches/{sweep}/{batch}.json`."""

    sweep: Name
    batch: int = Field(ge=0)
    kind: Annotated[str, AfterValidator(_known)]
    runs: list[Annotated[str, Field(pattern=f"^{RUN_PATTERN}$")]] = Field(min_length=1)


def batch_files(folder: Path, sweeps: list[str] | None) -> list[Path]:
    """Batch files below a folder of results: of `sweeps`, each NAME:BATCHES, or all.

    Raises InputError for sweeps that are not of this form.
    """
    if sweeps is None:
        found = [f for f in (folder / "batches").glob("*/*.json") if f.stem.isdigit()]
        return sorted(found, key=lambda file: (file.parent.name, int(file.stem)))
    if wrong := [sweep for sweep in sweeps if not re.fullmatch(r"[\w.-]+:\d{1,6}", sweep)]:
        raise InputError(f"--sweeps: must be NAME:BATCHES, e.g. modes:1, got {wrong[0]!r}")
    counted = (sweep.rpartition(":") for sweep in sweeps)
    return [
        folder / "batches" / name / f"{batch}.json"
        for name, _, count in counted
        for batch in range(int(count))
    ]


def read_batch(path: str | Path) -> Batch:
    """Read a batch file. Raises InputError when it is none."""
    try:
        return Batch.model_validate_json(Path(path).read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError:
        raise InputError(f"{path}: not a batch file; delete it and run the workflow") from None


@dataclass(frozen=True)
class Summary:
    """All rows: of `runs` of all kinds, one each, and by kind with a row per thing measured."""

    runs: pd.DataFrame
    by_kind: dict[str, pd.DataFrame]

    @classmethod
    def of_rows(cls, rows: list[dict[str, Any]]) -> "Summary":
        """Make a summary of rows of runs, each of which measured one thing."""
        kinds = dict.fromkeys(row["kind"] for row in rows)
        details = {kind: [row for row in rows if row["kind"] == kind] for kind in kinds}
        return cls(table(rows), {kind: _detailed(kind, rows) for kind, rows in details.items()})


def collect(batches: Iterable[Batch], results_dir: str | Path) -> Summary:
    """Collect the rows of all runs in `batches`, in order; a run of several sweeps counts once.

    A run whose result is missing or cannot be read has a row with `status: missing` and the
    reason. One result is in memory at a time.
    """
    sweeps: dict[tuple[str, str], list[str]] = {}
    for batch in batches:
        for run in batch.runs:
            named = sweeps.setdefault((run, batch.kind), [])
            if batch.sweep not in named:
                named.append(batch.sweep)
    rows: list[dict[str, Any]] = []
    details: dict[str, list[dict[str, Any]]] = {}
    with progress("reading results", len(sweeps)) as advance:
        for (run, kind), names in sweeps.items():
            row, detailed = _rows(run, kind, " ".join(names), results_dir)
            rows.append(row)
            details.setdefault(kind, []).extend(detailed)
            advance()
    by_kind = {kind: _detailed(kind, details[kind]) for kind in KINDS if kind in details}
    return Summary(table(rows), by_kind)


def table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Table of rows of runs with the columns and types of their kinds."""
    return _frame(rows, columns_of_all([row["kind"] for row in rows]))


def empty_rows(kind: str) -> pd.DataFrame:
    """Return a kind's own summary without rows."""
    return _detailed(kind, [])


def _detailed(kind: str, rows: list[dict[str, Any]]) -> pd.DataFrame:
    return _frame(rows, detailed_columns_of(kind))


def _frame(rows: list[dict[str, Any]], columns: dict[str, str]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            name: pd.array([row.get(name) for row in rows], dtype=dtype)
            for name, dtype in columns.items()
        }
    )


def read_summary(path: str | Path) -> pd.DataFrame:
    """Read `summary.parquet`. Raises InputError when it is none."""
    try:
        return pd.read_parquet(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValueError:  # pyarrow's errors are among them
        raise InputError(f"{path}: not a Parquet file with a summary") from None


def missing_in(frame: pd.DataFrame) -> list[str]:
    """Return a line for each missing run of a table: its id and the reason."""
    missing = frame[frame["status"] == "missing"]
    return [f"{row.run}: {row.reason}" for row in missing.itertuples()]


def _rows(
    run: str, kind: str, sweeps: str, results_dir: str | Path
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Row of a run, and its rows in the summary of its kind."""
    path = KINDS[kind].result_path(results_dir, run)
    try:
        result = KINDS[kind].read_result(path)
        if result.run != run:
            raise InputError(f"{path}: is the result of {result.run}")
    except InputError as error:
        row = missing_row(run, kind, sweeps, str(error))
        return row, [row]
    return row_of(result, sweeps), detailed_rows_of(result, sweeps)
