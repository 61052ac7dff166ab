"""What the resolved settings of every run have in common."""

from typing import ClassVar, Literal

from scripts.lib.schema.base import StrictModel
from scripts.lib.sweeps.batch_size import BatchSizeSearch
from scripts.lib.sweeps.sweep import Device, MemoryBudgetMib


class RunSettings(StrictModel):
    """The resolved settings of a run: all that its programs read of the configuration.

    A kind's run model inherits from it and redeclares `kind` with its own name. `slug` names the
    settings that a run's readable id shows, in order, with the text before each value.
    """

    slug: ClassVar[dict[str, str]]
    kind: str


class ProbedRun(RunSettings):
    """Settings of a run whose largest batch can be searched for."""

    device: Device = "auto"
    memory_budget_mib: MemoryBudgetMib = None
    batch_size_search: BatchSizeSearch | None = None

    @property
    def search(self) -> BatchSizeSearch:
        """How the largest batch is searched for."""
        return self.batch_size_search or BatchSizeSearch()


BatchSizeRequest = int | Literal["auto"] | None
