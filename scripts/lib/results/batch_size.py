"""The record `batch_size.json`: the largest usable batch of a run, with its proof."""

from typing import Literal

from pydantic import Field

from scripts.lib.config.training import TrainingRun
from scripts.lib.results.result import Result
from scripts.lib.schema.base import StrictModel

# Raise it when the number that the search returns changes its meaning.
MEASUREMENT_VERSION = 1


class Probe(StrictModel):
    """One attempt at one batch size, in a process of its own."""

    batch_size: int
    outcome: Literal["ok", "oom", "failed"]
    peak_mib: float | None = Field(None, description="Peak memory, where the probe got that far.")
    seconds: float
    reason: str = ""


class MemoryModel(StrictModel):
    """Least-squares line through the successful probes: intercept + slope x batch size."""

    intercept_mib: float
    slope_mib: float


class BatchSizeResult(Result):
    """Largest batch size that survives the run's worst case.

    `certified`: it works, and one more fails or is above `upper_limit`. With `status: oom` not
    even a batch of 1 fits, and the reason says how much memory was missing.
    """

    settings: TrainingRun
    batch_size: int | None
    recommended_batch_size: int | None = Field(
        None, description="Largest size that fits in (1 - margin) of the budget."
    )
    certified: bool = False
    upper_limit: int
    strategy: str
    probes: list[Probe] = Field(default_factory=list)
    memory_model: MemoryModel | None = None
    budget_mib: float | None = None
    budget_method: str = Field("", description="How the budget was imposed.")
    margin: float = 0
    worst_case: dict[str, int | str] = Field(default_factory=dict)
