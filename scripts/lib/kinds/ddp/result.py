"""The result of a data-parallel run: `ddp.json`."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from scripts.lib.kinds.ddp.config import DdpRun
from scripts.lib.kinds.ddp.upgrades import upgraded_from_1
from scripts.lib.results.result import Result, Upgrades
from scripts.lib.schema.base import StrictModel

# Raise it when a time, a cost or a share changes its meaning: all runs are measured again.
MEASUREMENT_VERSION = 3


class SeedMetrics(StrictModel):
    """One mode with one seed; lists by step include the warm-up."""

    seed: int
    step_time_ms: list[float] = Field(description="Of the slowest rank.")
    imbalance: list[float] = Field(description="Largest over mean time of computing.")
    padding_share: list[float]
    loss: list[float] = Field(description="Mean over the global batch.")
    wait_share: list[float] = Field(
        description="Share of waiting in the time after the warm-up, rank by rank."
    )
    mean_step_time_ms: float
    eval_loss: float
    eval_accuracy: float


class ModeMetrics(StrictModel):
    """One mode; figures are means over the seeds, of the steps after the warm-up."""

    mode: str
    mean_step_time_ms: float = Field(description="Time of the slowest rank, schedule included.")
    mean_step_time_ci_low_ms: float | None = Field(
        description="95 % interval over the seeds, on logarithms, lower end; None with one seed."
    )
    mean_step_time_ci_high_ms: float | None
    median_step_time_ms: float
    p95_step_time_ms: float
    p99_step_time_ms: float
    gain: float | None = Field(description="Time of `static` over the time of this mode.")
    gain_ci_low: float | None = Field(
        description="95 % bootstrap interval over pairs of neighbouring blocks, lower end; None "
        "with fewer than 6 pairs."
    )
    gain_ci_high: float | None
    mean_cpu_time_ms: float = Field(description="Processor time of the busiest rank.")
    cpu_gain: float | None = Field(description="The same ratio of processor times.")
    padded_gain: float | None = Field(
        description="Expected largest padded tokens of a rank: `static` over this mode."
    )
    imbalance: float = Field(description="Largest over mean time of computing.")
    padded_imbalance: float = Field(description="Largest over mean padded tokens.")
    padding_share: float = Field(description="Share of padding in all tokens.")
    efficiency: float = Field(description="Cost that no schedule can beat over the largest cost.")
    wait_share: float
    allreduce_share: float
    schedule_share: float
    mean_schedule_time_ms: float
    samples_per_s: float
    tokens_per_s: float = Field(description="Tokens without padding.")
    final_loss: float
    eval_loss: float
    eval_accuracy: float
    seeds: list[SeedMetrics]


class DdpMetrics(StrictModel):
    """What was measured, mode by mode."""

    backend: str = Field(description="`gloo` or `nccl`.")
    pinned: bool = Field(description="Whether every rank had a core of its own.")
    train_samples: int
    eval_samples: int
    mean_sample_length: float = Field(description="Tokens of a sample, cut off at max_length.")
    median_sample_length: float
    p90_sample_length: float
    p99_sample_length: float
    max_sample_length: int
    length_counts: list[int] = Field(description="Samples of 0, 1, 2, ... tokens.")
    peak_memory_mib: float = Field(
        description="Of the rank that had most, with the models of all modes: of CUDA's allocator, "
        "or the resident memory."
    )
    largest_local_batch: int | None = Field(
        description="Samples of max_length that fit on every rank, where that was asked for."
    )
    cost_coefficients: list[float] | None = Field(
        description="Of `fitted`: milliseconds, per token, per token and length."
    )
    fastest_mode: str = Field(description="Mode with the smallest mean time per step.")
    fastest_mean_step_time_ms: float
    fastest_gain: float | None = Field(
        description="Time of `static` over that of the fastest mode, where both were measured."
    )
    modes: list[ModeMetrics] = Field(min_length=1, description="In the order of the run.")
    warnings: list[str]

    def mode(self, name: str) -> ModeMetrics:
        """Return the figures of one mode. Raises KeyError where the run leaves it out."""
        return {metrics.mode: metrics for metrics in self.modes}[name]


def fastest(modes: list[ModeMetrics]) -> dict[str, Any]:
    """Return the fields of DdpMetrics about the fastest of the modes."""
    best = min(modes, key=lambda metrics: metrics.mean_step_time_ms)
    return {
        "fastest_mode": best.mode,
        "fastest_mean_step_time_ms": best.mean_step_time_ms,
        "fastest_gain": best.gain,
    }


class DdpResult(Result[DdpRun, DdpMetrics]):
    """Result of one data-parallel run; each of its modes is a row."""

    rows_field = "modes"
    upgrades: ClassVar[Upgrades] = {1: upgraded_from_1}

    kind: Literal["ddp"] = "ddp"
