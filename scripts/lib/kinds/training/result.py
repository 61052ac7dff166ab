"""The result of a training run: `benchmark.json`."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from scripts.lib.kinds.training.config import TrainingRun
from scripts.lib.kinds.training.upgrades import upgraded_from_1
from scripts.lib.results.result import Result, Upgrades
from scripts.lib.schema.base import StrictModel

# Raise it when a timing, memory or FLOP figure changes its meaning: all runs are measured again.
MEASUREMENT_VERSION = 1


class TrainingMetrics(StrictModel):
    """What was measured. Times are per step; a trial is `num_steps` of them."""

    forward_only: bool
    num_parameters: int
    trial_times_ms: list[float] = Field(description="Time per step of each trial, in order.")
    mean_step_time_ms: float
    std_step_time_ms: float = Field(description="Sample standard deviation over the trials.")
    median_step_time_ms: float
    median_step_time_ci_low_ms: float | None = Field(
        description="95 % interval of the median, lower end."
    )
    median_step_time_ci_high_ms: float | None = Field(
        description="95 % interval of the median, upper end."
    )
    p10_step_time_ms: float
    p90_step_time_ms: float
    p99_step_time_ms: float
    cv_step_time: float = Field(description="Coefficient of variation: std / mean.")
    forward_times_ms: list[float] = Field(description="Forward part of a step, per split trial.")
    backward_times_ms: list[float] | None
    optimizer_times_ms: list[float] | None
    median_forward_time_ms: float
    median_backward_time_ms: float | None
    median_optimizer_time_ms: float | None
    samples_per_s: float
    tokens_per_s: float
    flops_per_step: float = Field(description="Model FLOPs of a step by formula.")
    tflops_per_s: float = Field(description="Model TFLOP/s at the median time.")
    peak_tflops: float | None = Field(description="Peak of the device at this precision.")
    mfu: float | None = Field(description="Model FLOPs utilisation: tflops_per_s / peak_tflops.")
    peak_memory_mib: float
    peak_reserved_memory_mib: float | None = Field(description="Of CUDA's caching allocator.")
    peak_resident_memory_mib: float = Field(description="Largest resident memory of the process.")
    memory_method: str = Field(description="How peak_memory_mib was measured.")
    compile_time_s: float | None = Field(description="First step under torch.compile, seconds.")
    warnings: list[str]
    device_state: dict[str, dict[str, Any]] = Field(
        description="What else was on the device, `before` and `after` the trials."
    )


class TrainingResult(Result[TrainingRun, TrainingMetrics]):
    """Result of one training run."""

    upgrades: ClassVar[Upgrades] = {1: upgraded_from_1}

    kind: Literal["training"] = "training"
