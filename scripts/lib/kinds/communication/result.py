"""The result of a communication run: `communication.json`."""

from typing import ClassVar, Literal

from pydantic import Field

from scripts.lib.kinds.communication.config import CommunicationRun
from scripts.lib.results.result import Result
from scripts.lib.schema.base import StrictModel

# Raise it when a time or a bandwidth changes its meaning: all runs are measured again.
MEASUREMENT_VERSION = 1


class MessageMetrics(StrictModel):
    """One message size. A time is that of one operation on the slowest rank, microseconds."""

    message_bytes: int = Field(
        description="As nccl-tests counts: of the largest buffer of a rank, input or output."
    )
    median_time_us: float
    median_time_ci_low_us: float | None = Field(
        description="95 % interval of the median from order statistics, lower end; None with "
        "fewer than six trials."
    )
    median_time_ci_high_us: float | None
    p99_time_us: float
    algorithm_bandwidth_gb_per_s: float = Field(description="message_bytes / median time, 1e9 B/s.")
    bus_bandwidth_gb_per_s: float = Field(
        description="algorithm_bandwidth times the factor of the operation, see docs."
    )
    num_wrong: int = Field(description="Elements with a wrong value, over all ranks.")
    trial_times_us: list[float] = Field(description="Per operation, of each trial, in order.")


class CommunicationMetrics(StrictModel):
    """What was measured over all message sizes."""

    backend: str
    pinned: bool = Field(description="Whether every rank had a core of its own.")
    latency_us: float = Field(description="Median time of the smallest message.")
    max_message_bus_bandwidth_gb_per_s: float = Field(
        description="Bus bandwidth at the largest message."
    )
    alpha_us: float | None = Field(
        description="Start-up time of the fit alpha + beta n; None with one size."
    )
    beta_us_per_mib: float | None = Field(description="Time per MiB of the fit.")
    fit_relative_error: float | None = Field(
        description="Root mean square of the fit's relative errors over the sizes."
    )
    messages: list[MessageMetrics] = Field(min_length=1, description="By rising size.")
    warnings: list[str]


class CommunicationResult(Result[CommunicationRun, CommunicationMetrics]):
    """Result of one communication run; each message size is a row."""

    rows_field: ClassVar[str] = "messages"

    kind: Literal["communication"] = "communication"
