"""What tables and figures are made of: the rows of a summary, and the results behind them."""

from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from scripts.lib.batch_size.result import BatchSizeResult
from scripts.lib.kinds.registry import KINDS
from scripts.lib.presentation.shown import Presentation, Shown
from scripts.lib.results.reading import read_result
from scripts.lib.results.result import Result
from scripts.lib.schema.errors import InputError
from scripts.lib.summary.collecting import (
    Batch,
    Summary,
    batch_files,
    empty_rows,
    read_batch,
    read_summary,
)


class Source:
    """A folder of results, read as far as a table or figure asks for it.

    `sweeps`, each NAME:BATCHES, restricts it; all batch files found count without it. A result
    that is missing or cannot be read is left out here; the summary has a row that says so.
    """

    def __init__(
        self,
        folder: str | Path,
        sweeps: list[str] | None = None,
        summary: Summary | None = None,
    ):
        """Read from `folder`; `summary` takes the place of its `summary.parquet`."""
        self.folder, self._sweeps, self._summary = Path(folder), sweeps, summary
        self._views: dict[str, Any] = {}

    @cached_property
    def summary(self) -> pd.DataFrame:
        """The rows of all kinds. Raises InputError where there is no summary."""
        if self._summary is not None:
            return self._summary.runs
        return read_summary(self.folder / "summary.parquet")

    def rows(self, kind: str) -> pd.DataFrame:
        """Rows of one kind. Raises InputError where there is no summary."""
        if self._summary is not None:
            frame = self._summary.by_kind.get(kind)
            return empty_rows(kind) if frame is None else frame
        path = self.folder / "summary" / f"{kind}.parquet"
        if not path.exists() and len(self.summary):  # or there is no summary at all
            return empty_rows(kind)
        return read_summary(path)

    def has(self, presentation: Presentation) -> bool:
        """Whether there is anything that a presentation could show."""
        if presentation.name in KINDS:
            return len(self.rows(presentation.name)) > 0
        reads = {shown.reads for shown in (*presentation.tables, *presentation.figures)}
        return "searches" not in reads or bool(self.searches())

    @cached_property
    def batches(self) -> list[Batch]:
        """The lists of runs. Raises InputError where one cannot be read."""
        return [read_batch(path) for path in batch_files(self.folder, self._sweeps)]

    def by_sweep(self, kind: str) -> dict[str, list[Result]]:
        """Results of one kind by sweep, in the order of its runs."""
        sweeps: dict[str, list[Result]] = {}
        for batch in self.batches:
            if batch.kind == kind:
                found = (self._result(kind, run) for run in batch.runs)
                sweeps.setdefault(batch.sweep, []).extend(filter(None, found))
        return sweeps

    def results(self, kind: str) -> list[Result]:
        """Results of one kind, a run of several sweeps once."""
        results = (result for sweep in self.by_sweep(kind).values() for result in sweep)
        return list({result.run: result for result in results}.values())

    def searches(self) -> list[BatchSizeResult]:
        """All searches for a largest batch; runs with a fixed batch size have none."""
        runs = dict.fromkeys(run for batch in self.batches for run in batch.runs)
        searches = []
        for run in runs:
            path = self.folder / "runs" / run / "batch_size.json"
            if path.exists():
                searches.append(read_result(path, BatchSizeResult))
        return searches

    def of(self, presentation: Presentation, shown: Shown) -> Any:
        """Return what a table or figure of a presentation reads."""
        if shown.reads == "view":
            if presentation.name not in self._views:
                self._views[presentation.name] = presentation.view()(self)
            return self._views[presentation.name]
        if shown.reads == "rows":
            return self.rows(presentation.name)
        if shown.reads == "results":
            return self.results(presentation.name)
        return self.searches() if shown.reads == "searches" else self.summary

    def _result(self, kind: str, run: str) -> Result | None:
        try:
            return KINDS[kind].read_result(KINDS[kind].result_path(self.folder, run))
        except InputError:
            return None
