"""What a presentation may ask of a folder of results."""

from pathlib import Path
from typing import Any, Protocol


class Results(Protocol):
    """A folder of results; `scripts.lib.report.source.Source` is one."""

    folder: Path

    def by_sweep(self, kind: str) -> dict[str, list[Any]]:
        """Results of one kind by sweep, in the order of its runs."""

    def results(self, kind: str) -> list[Any]:
        """Results of one kind, a run of several sweeps once."""
