"""What every result file carries: identity, status, settings, provenance."""

from typing import Generic, Literal, TypeVar

from pydantic import Field

from scripts.lib.schema.base import StrictModel
from scripts.lib.sweeps.run import RunSettings

# Raised when a reader of older files would misunderstand new ones.
SCHEMA_VERSION = 1

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


class ResultFile(StrictModel):
    """What every file of a run carries, whatever its content."""

    schema_version: Literal[1] = SCHEMA_VERSION
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
    """The result of one run: its settings, and its metrics where the status is `ok`."""

    settings: S
    metrics: M | None = None
