"""What every result file carries: identity, status, settings, provenance."""

from collections.abc import Callable
from typing import Any, ClassVar, Generic, Literal, TypeVar

from pydantic import Field

from scripts.lib.schema.base import StrictModel
from scripts.lib.sweeps.run import RunSettings

# Raised when a reader of older files would misunderstand new ones.
SCHEMA_VERSION = 2

Upgrades = dict[int, Callable[[dict[str, Any]], dict[str, Any]]]
Status = Literal["ok", "oom", "unsupported", "failed"]


class Provenance(StrictModel):
    """Where, when and with what a result was measured."""

    started_at: str = Field(description="UTC, ISO 8601.")
    ended_at: str = Field(description="UTC, ISO 8601.")
    host: str
    platform: str
    cpu_model: str
    cpu_count: int = Field(description="Logical processors of the host.")
    memory_mib: float = Field(description="Memory of the host, MiB.")
    device_name: str | None = Field(description="Name of the measured device.")
    device_memory_mib: float | None = Field(description="Memory of the measured device, MiB.")
    driver_version: str | None
    cuda_version: str | None
    git_commit: str | None = Field(description="Commit of the workflow; none outside a checkout.")
    git_dirty: bool | None = Field(description="Whether the checkout had uncommitted changes.")
    python_version: str
    packages: dict[str, str] = Field(description="Versions of the packages that matter.")
    seed: int | None = Field(description="Seed of the run, where it has one.")


class Effective(StrictModel):
    """What a measurement really ran with, read from the device and the live model.

    A field is None where it does not apply or cannot be known. Settings of the same name are what
    was requested; `auto` is never an effective value.
    """

    device: str | None = Field(None, description="As torch names it: `cpu`, `cuda:0`.")
    device_index: int | None = Field(None, description="Index of the first CUDA device used.")
    precision: str | None = Field(
        None, description="Type of the weights, or `*_mixed` for autocast over fp32 weights."
    )
    weights_dtype: str | None = Field(None, description="As torch names it, e.g. `bfloat16`.")
    autocast_dtype: str | None = Field(None, description="Type of autocast, where it is on.")
    tf32: bool | None = Field(None, description="Whether fp32 matmuls may use TF32 tensor cores.")
    attn_implementation: str | None = Field(None, description="What the model was built with.")
    attention_backend: str | None = Field(
        None, description="Kernel that torch's sdpa chose, as `torch.nn.attention.SDPBackend`."
    )
    compile: bool | None = Field(None, description="Whether the model ran under torch.compile.")
    num_threads: int | None = Field(None, description="CPU threads that torch used, per rank.")
    batch_size: int | None = Field(None, description="Samples of a step or batch, as measured.")


class ResultFile(StrictModel):
    """What every file of a run carries, whatever its content."""

    # By the schema version of a file, the step that turns its content into that of the next one.
    upgrades: ClassVar[Upgrades] = {1: lambda data: data}

    schema_version: Literal[2] = 2
    measurement_version: int = Field(
        ge=1, description="Raised when a measurement changes its meaning."
    )
    run: str
    kind: str
    status: Status
    reason: str = Field("", description="Why the status is not `ok`.")
    provenance: Provenance


S = TypeVar("S", bound=RunSettings)
M = TypeVar("M", bound=StrictModel)


class Result(ResultFile, Generic[S, M]):
    """The result of one run: its settings, and its metrics where the status is `ok`.

    A run may measure several things beside one another, such as the modes of a training or the
    sizes of a message: `rows_field` names the list of them in the metrics. Each is a row in the
    summary of the kind.
    """

    rows_field: ClassVar[str | None] = None

    settings: S
    effective: Effective | None = None
    metrics: M | None = None
