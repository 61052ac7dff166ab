"""The result of an inference run: `inference.json`, and `requests.parquet` beside it."""

from typing import ClassVar, Literal

from pydantic import Field

from scripts.lib.kinds.inference.config import InferenceRun
from scripts.lib.kinds.inference.upgrades import upgraded_from_1
from scripts.lib.results.result import Result, Upgrades
from scripts.lib.schema.base import StrictModel

# Raise it when a rate, a latency or a count changes its meaning: all runs are measured again.
MEASUREMENT_VERSION = 3


class InferenceMetrics(StrictModel):
    """Figures of one point; each request stands in `requests.parquet`."""

    num_gpus: int = Field(description="GPUs of the server; 1 for a CPU.")
    num_prompts: int = Field(description="Requests that were to be sent.")
    num_failed: int = Field(description="Requests that failed.")
    num_wrong_length: int = Field(description="Answers that are not `osl` tokens long.")
    input_tokens: int = Field(description="Tokens of the prompts that were answered.")
    output_tokens: int = Field(
        description="Tokens of the answers, by the server where it counts them."
    )
    duration_s: float
    request_throughput: float = Field(description="Answers per second.")
    output_throughput: float = Field(description="Output tokens per second.")
    total_token_throughput: float = Field(description="Input and output tokens per second.")
    tput_per_gpu: float = Field(description="Input and output tokens per second and GPU.")
    output_tput_per_gpu: float = Field(description="Output tokens per second and GPU.")
    intvty: float | None = Field(description="Tokens per second and user: 1000 / median tpot.")
    mean_ttft_ms: float | None
    median_ttft_ms: float | None
    std_ttft_ms: float | None
    p90_ttft_ms: float | None
    p99_ttft_ms: float | None
    p99_9_ttft_ms: float | None
    mean_tpot_ms: float | None
    median_tpot_ms: float | None
    std_tpot_ms: float | None
    p90_tpot_ms: float | None
    p99_tpot_ms: float | None
    p99_9_tpot_ms: float | None
    mean_itl_ms: float | None
    median_itl_ms: float | None
    std_itl_ms: float | None
    p90_itl_ms: float | None
    p99_itl_ms: float | None
    p99_9_itl_ms: float | None
    mean_e2el_ms: float | None
    median_e2el_ms: float | None
    std_e2el_ms: float | None
    p90_e2el_ms: float | None
    p99_e2el_ms: float | None
    p99_9_e2el_ms: float | None
    client_cpu_share: float = Field(description="Share of one core that the client used.")
    warnings: list[str]


class ServerBoot(StrictModel):
    """The start of the server that a point was measured on."""

    server_boot: str = Field(description="Identity of this start; points that share it shared it.")
    server_boots: int = Field(description="Starts in the job up to this point.")
    server_start_time_s: float = Field(
        description="Seconds from the start to the first healthy answer."
    )
    command: list[str]


class InferenceResult(Result[InferenceRun, InferenceMetrics]):
    """Result of one inference run."""

    upgrades: ClassVar[Upgrades] = {1: upgraded_from_1}

    kind: Literal["inference"] = "inference"
    boot: ServerBoot | None = None
