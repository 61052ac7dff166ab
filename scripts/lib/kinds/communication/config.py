"""Sweeps of kind `communication`: collectives and point-to-point over ranks and message sizes."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from scripts.lib.schema.base import Axis, StrictModel, no_repeats, problem_at
from scripts.lib.sweeps.run import RunSettings
from scripts.lib.sweeps.sizes import Size
from scripts.lib.sweeps.sweep import Device, SweepBase

Operation = Literal["all_reduce", "all_gather", "reduce_scatter", "broadcast", "send_recv"]
Dtype = Literal["float32", "float16", "bfloat16", "float64", "int32", "int64", "uint8"]
Backend = Literal["auto", "gloo", "nccl"]
Ranks = Annotated[int, Field(ge=1, le=4096)]
MessageBytes = Annotated[int, Field(ge=1, le=1 << 36)]

KIB = 1024
DEFAULT_SIZES = [KIB * 4**power for power in range(8)]  # 1 KiB to 16 MiB


class CommunicationMeasurement(StrictModel):
    """How each run of a communication sweep is measured."""

    message_bytes: list[MessageBytes] = Field(
        DEFAULT_SIZES,
        min_length=1,
        description="Message sizes in bytes, rounded up to whole elements that ranks can share; "
        "each is a row. The default is 1 KiB to 16 MiB by factors of 4.",
    )
    num_warmups: int = Field(
        5, ge=1, le=100_000, description="Untimed operations of each size before the trials."
    )
    num_trials: int = Field(
        20, ge=1, le=1_000_000, description="Timed trials of each size; six give a 95 % interval."
    )
    num_iterations: int = Field(
        5, ge=1, le=1_000_000, description="Operations of one trial, back to back."
    )
    seed: int = Field(0, ge=0, lt=1 << 32, description="Seed of data and of the order of sizes.")

    @model_validator(mode="after")
    def _sizes_have_no_repeats(self) -> Self:
        try:
            no_repeats(self.message_bytes)
        except ValueError as error:
            raise problem_at(("message_bytes",), str(error)) from None
        return self


class CommunicationSweep(CommunicationMeasurement, SweepBase):
    """Time collectives and point-to-point messages between ranks, as nccl-tests does."""

    kind: Literal["communication"]
    operation: Axis[Operation] = Field(
        ["all_reduce"],
        description="`all_reduce` (sum), `all_gather`, `reduce_scatter` (sum), `broadcast` from "
        "rank 0, or `send_recv`: each rank sends to the next one and receives from the one before.",
    )
    ranks: Axis[Ranks] = Field([2], description="Processes, each with a device or core.")
    dtype: Axis[Dtype] = Field(["float32"], description="Type of the elements, as torch names it.")
    backend: Axis[Backend] = Field(
        ["auto"], description="`gloo` (CPU) or `nccl` (CUDA). `auto`: what the device has."
    )
    device: Device = "auto"

    @model_validator(mode="after")
    def _backends_are_of_the_device(self) -> Self:
        other = {"cpu": "nccl", "cuda": "gloo"}.get(self.device)
        if other in self.backend:
            raise problem_at(("backend",), f"{other} is not for device: {self.device}")
        if "send_recv" in self.operation and 1 in self.ranks:
            raise problem_at(("ranks",), "send_recv needs at least 2")
        return self

    def runs(self, sizes: dict[str, Size]) -> Iterator[dict[str, Any]]:
        """Yield the settings of each run: the product of operations, ranks, types, backends."""
        measured = {name: getattr(self, name) for name in CommunicationMeasurement.model_fields}
        for operation in self.operation:
            for ranks in self.ranks:
                for dtype in self.dtype:
                    for backend in self.backend:
                        yield {
                            "kind": self.kind,
                            "operation": operation,
                            "ranks": ranks,
                            "dtype": dtype,
                            "backend": backend,
                            "device": self.device,
                            **measured,
                        }


class _CommunicationPoint(RunSettings):
    kind: Literal["communication"] = "communication"
    operation: Operation = "all_reduce"
    ranks: Ranks = 2
    dtype: Dtype = "float32"
    backend: Backend = "auto"
    device: Device = "auto"


class CommunicationRun(CommunicationMeasurement, _CommunicationPoint):
    """The resolved settings of one run of kind `communication`: all that its programs read."""

    # Settings that a run's readable id shows, in order, with the text before each value.
    slug: ClassVar[dict[str, str]] = {
        "operation": "",
        "ranks": "g",
        "dtype": "",
        "backend": "",
    }
