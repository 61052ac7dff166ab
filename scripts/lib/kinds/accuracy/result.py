"""The result of one point of an accuracy sweep: `accuracy.json`."""

from typing import Literal

from pydantic import Field

from scripts.lib.kinds.accuracy.config import AccuracyRun
from scripts.lib.results.result import Result
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


class Latency(StrictModel):
    """One stage over all batches, milliseconds a batch."""

    mean_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float


class AccuracyMetrics(StrictModel):
    """What was measured at one point."""

    accuracy: float = Field(description="Mean score of the samples.")
    std: float = Field(description="Standard deviation of the scores.")
    std_error: float
    ci_low: float = Field(description="95 % bootstrap interval of the accuracy, lower end.")
    ci_high: float
    samples_evaluated: int
    batch_size: int = Field(description="Samples of a batch; after an out-of-memory the smaller.")
    actual_max_crops: int = Field(description="Most crops that an image really had.")
    actual_top_k: int | None
    actual_num_active_blocks: int
    num_experts: int | None
    total_blocks: int
    crops_mean: float
    vision_tokens_mean: float
    prompt_tokens_mean: float
    new_tokens_mean: float
    parameters: int
    active_parameters: int = Field(description="Without experts and blocks that are not used.")
    flops_per_sample: float
    duration_seconds: float = Field(
        description="Of all batches of the slowest rank; making inputs comes before."
    )
    samples_per_s: float = Field(description="All samples over `duration_seconds`.")
    vision: Latency
    prefill: Latency
    decode: Latency
    latency: Latency = Field(description="All stages together.")
    latency_per_sample_ms: float = Field(description="Mean time of a batch over its samples.")
    peak_mem_mib: float = Field(
        description="Largest of all batches; on a CPU without a budget of the first one."
    )
    input_digest: str = Field(description="Of the inputs of all samples.")
    model_identity: str = Field(description="Commit or contents of the checkpoint.")
    experts_implementation: str | None
    attn_implementation: str | None
    oom_events: int
    active_blocks: list[int] = Field(description="Numbers of the blocks that stayed.")
    ooms: list[OutOfMemory]
    batches: list[BatchTime]
    samples: list[SampleResult]
    example_images: list[str] = Field(description="First images, small PNGs in base64.")
    warnings: list[str]


class AccuracyResult(Result[AccuracyRun, AccuracyMetrics]):
    """Row of one point of an accuracy sweep."""

    kind: Literal["accuracy"] = "accuracy"


class ImportanceResult(StrictModel):
    """What leaving out each block costs: `importance.json`."""

    model: str
    samples_evaluated: int
    metric: str
    accuracy: float = Field(description="With all blocks.")
    accuracy_without: list[float] = Field(description="Without the block of this number.")
    ranking: list[int] = Field(description="All blocks, the most important first.")
    seconds: float
