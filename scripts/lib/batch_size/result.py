"""The record `batch_size.json`: the largest usable batch of a run, with its proof."""

from typing import Any, ClassVar, Literal, TypeVar

from pydantic import Field

from scripts.lib.results.result import ResultFile, Upgrades
from scripts.lib.results.upgrades import renamed
from scripts.lib.schema.base import StrictModel
from scripts.lib.sweeps.run import ProbedRun

_PROBE = {"peak_mib": "peak_memory_mib", "seconds": "duration_s"}
R = TypeVar("R", bound=ProbedRun)

# Raise it when the number that the search returns changes its meaning.
MEASUREMENT_VERSION = 3


def upgraded_from_1(data: dict[str, Any]) -> dict[str, Any]:
    """Return a record of schema 1 with the names of schema 2."""
    return data | {"probes": [renamed(probe, _PROBE) for probe in data["probes"]]}


class Probe(StrictModel):
    """One attempt at one batch size, in a process of its own."""

    batch_size: int
    outcome: Literal["ok", "oom", "unsupported", "failed"]
    peak_memory_mib: float | None = Field(None, description="Where the probe got that far.")
    duration_s: float
    reason: str = ""


class MemoryModel(StrictModel):
    """A line of peak memory: intercept + slope x batch size."""

    intercept_mib: float
    slope_mib: float


class Neighbour(StrictModel):
    """The line of another run from which a search began."""

    run: str
    line: MemoryModel = Field(description="Already scaled to this run.")


class Timing(StrictModel):
    """Throughput of the worst case at one batch size, timed in a process of its own."""

    batch_size: int
    samples_per_s: float


class BatchSizeResult(ResultFile):
    """Largest batch size that survives the run's worst case.

    `certified`: it works, and one more fails or is above `upper_limit`. With `status: oom` not
    even the lower limit fits, and the reason says how much memory was missing.
    """

    upgrades: ClassVar[Upgrades] = {1: upgraded_from_1}

    settings: dict[str, Any] = Field(description="Of the run, as its kind models them.")
    batch_size: int | None
    recommended_batch_size: int | None = Field(
        None,
        description="Largest size that leaves the margin of the budget free: probed with "
        "`use: recommended`, else by the line of memory.",
    )
    knee_batch_size: int | None = Field(
        None, description="Smallest size within 5 % of the best samples/s, where it was asked for."
    )
    missing_mib: float | None = Field(
        None, description="Memory that the lower limit lacks, where it does not fit."
    )
    certified: bool = False
    lower_limit: int = 1
    upper_limit: int
    strategy: str
    start: int | None = Field(None, description="Where `strategy: estimate` began.")
    neighbour: Neighbour | None = None
    probes: list[Probe] = Field(default_factory=list, description="In order.")
    memory_model: MemoryModel | None = Field(
        None,
        description="Least-squares line through the successful probes; with one success, the "
        "neighbour's slope through it.",
    )
    timings: list[Timing] = Field(default_factory=list)
    budget_mib: float | None = None
    budget_method: str = Field("", description="How the budget was imposed.")
    margin: float = 0
    margin_mib: float | None = Field(None, description="Takes the place of `margin`.")
    ranks: int = Field(1, description="Processes that probed together.")
    worst_case: dict[str, int | str] = Field(default_factory=dict)

    def run_settings(self, model: type[R]) -> R:
        """Settings as the run model of the kind. Raises ValueError where they do not fit it."""
        return model.model_validate(self.settings)

    @property
    def size_in_use(self) -> int | None:
        """The size that the run asks for by `use`: the largest, or the recommended one."""
        search = self.settings.get("batch_size_search") or {}
        recommended = search.get("use") == "recommended"
        return self.recommended_batch_size if recommended else self.batch_size

    def padded_tokens(self, max_length: int) -> int:
        """Tokens of a batch of that size, whose samples are as long as those that were probed.

        `max_length` where nothing was probed.
        """
        return self.size_in_use * int(self.worst_case.get("context_length", max_length))

    @property
    def ooms(self) -> int:
        """How many probes ran out of memory."""
        return sum(probe.outcome == "oom" for probe in self.probes)

    @property
    def duration_s(self) -> float:
        """Seconds that all probes took together."""
        return sum(probe.duration_s for probe in self.probes)
