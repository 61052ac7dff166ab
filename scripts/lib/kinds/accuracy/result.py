"""The result of one point of an accuracy sweep: `accuracy.json`."""

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from scripts.lib.kinds.accuracy.config import AccuracyRun
from scripts.lib.kinds.accuracy.upgrades import upgraded_from_1
from scripts.lib.results.result import Result, Upgrades
from scripts.lib.results.upgrades import renamed
from scripts.lib.schema.base import StrictModel

# Raise it when a score, a count or a time changes its meaning: all runs are measured again.
MEASUREMENT_VERSION = 2


class SampleResult(StrictModel):
    """One sample: what was asked, what came back, what it cost."""

    id: int = Field(description="Number in the whole data set.")
    question: str
    answers: list[str]
    prediction: str
    score: float
    crops: int
    vision_tokens: int
    patches: int = Field(description="Patches that the vision tower saw.")
    patches_per_image: int = Field(description="Of these, how many attend to one another.")
    prompt_tokens: int
    new_tokens: int
    digest: str = Field(description="Of everything the model was given.")


class BatchTime(StrictModel):
    """Wall time of one batch, milliseconds."""

    batch_size: int
    vision_ms: float
    prefill_ms: float = Field(description="Up to the first token, without the vision tower.")
    decode_ms: float


class OutOfMemory(StrictModel):
    """A batch that memory had no room for; its samples were answered in smaller ones."""

    batch_size: int
    next_batch_size: int
    reason: str


class AccuracyMetrics(StrictModel):
    """What was measured at one point."""

    accuracy: float = Field(description="Mean score of the samples.")
    std_score: float = Field(description="Standard deviation of the scores.")
    accuracy_std_error: float
    accuracy_ci_low: float = Field(
        description="95 % bootstrap interval of the accuracy, lower end."
    )
    accuracy_ci_high: float
    samples_evaluated: int
    actual_max_crops: int = Field(description="Most crops that an image really had.")
    actual_top_k: int | None
    actual_num_active_blocks: int
    num_experts: int | None
    total_blocks: int
    mean_crops: float
    mean_vision_tokens: float
    mean_prompt_tokens: float
    mean_new_tokens: float
    num_parameters: int
    num_active_parameters: int = Field(description="Without experts and blocks that are not used.")
    flops_per_sample: float
    duration_s: float = Field(
        description="Of all batches of the slowest rank; making inputs comes before."
    )
    samples_per_s: float = Field(description="All samples over `duration_s`.")
    mean_vision_time_ms: float = Field(description="Of a batch, milliseconds; likewise below.")
    median_vision_time_ms: float
    p95_vision_time_ms: float
    p99_vision_time_ms: float
    mean_prefill_time_ms: float
    median_prefill_time_ms: float
    p95_prefill_time_ms: float
    p99_prefill_time_ms: float
    mean_decode_time_ms: float
    median_decode_time_ms: float
    p95_decode_time_ms: float
    p99_decode_time_ms: float
    mean_batch_time_ms: float = Field(description="All stages together.")
    median_batch_time_ms: float
    p95_batch_time_ms: float
    p99_batch_time_ms: float
    mean_latency_per_sample_ms: float = Field(description="Mean time of a batch over its samples.")
    peak_memory_mib: float = Field(
        description="Largest of all batches; on a CPU without a budget of the first one."
    )
    input_digest: str = Field(description="Of the inputs of all samples.")
    model_identity: str = Field(description="Commit or contents of the checkpoint.")
    experts_implementation: str | None
    oom_events: int
    active_blocks: list[int] = Field(description="Numbers of the blocks that stayed.")
    ooms: list[OutOfMemory]
    batches: list[BatchTime]
    samples: list[SampleResult]
    example_images: list[str] = Field(description="First images, small PNGs in base64.")
    warnings: list[str]


class AccuracyResult(Result[AccuracyRun, AccuracyMetrics]):
    """Result of one point of an accuracy sweep."""

    upgrades: ClassVar[Upgrades] = {1: upgraded_from_1}

    kind: Literal["accuracy"] = "accuracy"


class ImportanceResult(StrictModel):
    """What leaving out each block costs: `importance.json`."""

    @model_validator(mode="before")
    @classmethod
    def _former_names(cls, data: Any) -> Any:
        return renamed(data, {"seconds": "duration_s"}) if isinstance(data, dict) else data

    model: str
    samples_evaluated: int
    metric: str
    accuracy: float = Field(description="With all blocks.")
    accuracy_without: list[float] = Field(description="Without the block of this number.")
    ranking: list[int] = Field(description="All blocks, the most important first.")
    duration_s: float
