"""Sweeps of kind `training`: timed transformer steps over sizes, contexts and modes."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from scripts.lib.schema.base import Axis, Name, StrictModel, problem_at
from scripts.lib.sweeps.run import ProbedRun
from scripts.lib.sweeps.sizes import Size
from scripts.lib.sweeps.sweep import GridSweep, entry_of

Mode = Literal["forward", "forward_backward", "training_step"]
Precision = Literal["fp32", "tf32", "bf16", "fp16", "bf16_mixed", "fp16_mixed"]
AttnImplementation = Literal["eager", "sdpa", "flash_attention_2", "flex_attention"]
BatchSize = Literal["auto"] | Annotated[int, Field(ge=1, le=1 << 20)]
ContextLength = Annotated[int, Field(ge=2, le=1 << 24)]
NumThreads = Annotated[int, Field(ge=0, le=4096)]


class TrainingAxes(StrictModel):
    """The axes of a training sweep; each takes one value or a list."""

    size: Axis[Name] = Field(description="Names of lines of the table of sizes.")
    context_length: Axis[ContextLength] = Field(description="Tokens of a sequence.")
    batch_size: Axis[BatchSize] = Field(
        ["auto"],
        description="Sequences of a step, or `auto`: the largest number that fits.",
    )
    mode: Axis[Mode] = Field(
        ["training_step"],
        description="`forward` (no gradients), `forward_backward`, or `training_step` "
        "(with AdamW).",
    )
    precision: Axis[Precision] = Field(
        ["fp32"],
        description="`fp32`, `tf32` (tensor cores for fp32), `bf16` and `fp16` (weights, too), "
        "`bf16_mixed` and `fp16_mixed` (autocast over fp32 weights).",
    )
    attn_implementation: Axis[AttnImplementation] = Field(
        ["sdpa"], description="Attention implementation, by the name transformers gives it."
    )
    compile: Axis[bool] = Field([False], description="Whether the model runs under torch.compile.")
    num_threads: Axis[NumThreads] = Field(
        [0], description="CPU threads of a step; 0 takes as many as the job was given."
    )


TrainingEntry: Any = entry_of(TrainingAxes)


class Measurement(StrictModel):
    """How each run of a training sweep is measured."""

    vocab: int = Field(10_000, ge=512, le=1 << 24, description="Entries of the vocabulary.")
    data_path: str | None = Field(
        None,
        pattern=r"^[^{}]+$",
        description="One-dimensional `.npy` file of integer token ids, read by memory map. "
        "Unset: the embedded text.",
    )
    num_warmups: int = Field(3, ge=1, le=100_000, description="Untimed steps before the trials.")
    num_trials: int = Field(
        10, ge=1, le=1_000_000, description="Timed trials; six give a 95 % interval."
    )
    num_steps: int = Field(1, ge=1, le=1_000_000, description="Steps of one trial.")
    seed: int = Field(0, ge=0, lt=1 << 32, description="Seed of weights, data and trial order.")
    peak_tflops: float | None = Field(
        None,
        gt=0,
        description="Peak of the device in TFLOP/s, for MFU on a device that is not in the table.",
    )


# The embedded text has more tokens than this at any vocabulary.
EMBEDDED_TOKENS = 65_536


class TrainingSweep(TrainingAxes, Measurement, GridSweep):
    """Time forward, backward and optimiser steps of Llama-style decoders."""

    kind: Literal["training"]
    exclude: list[TrainingEntry] = Field(
        [], description="Combinations that are left out of the grid."
    )
    include: list[TrainingEntry] = Field(
        [], description="Further combinations; an axis left out has the values of the grid."
    )

    @model_validator(mode="after")
    def _the_embedded_text_is_long_enough(self) -> Self:
        longest = max(combination["context_length"] for combination in self.combinations())
        if self.data_path is None and longest > EMBEDDED_TOKENS:
            raise problem_at(
                ("context_length",),
                f"{longest} needs a data_path; the embedded text is for up to {EMBEDDED_TOKENS}",
            )
        return self

    def problems(self, sizes: dict[str, Size]) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Yield each size that is not in the table of sizes."""
        places = [((), self.size), *((("include", i), e.size) for i, e in enumerate(self.include))]
        for keys, names in places:
            for name in names or ():
                if name not in sizes:
                    yield (*keys, "size"), f"unknown size {name!r}; allowed: {', '.join(sizes)}"

    def settings(self, combination: dict[str, Any], sizes: dict[str, Size]) -> dict[str, Any]:
        """Resolve one combination: the size's dimensions, and the search where it is needed."""
        size = sizes[combination["size"]]
        axes = {name: value for name, value in combination.items() if name != "size"}
        search = self.batch_size_search.model_dump() if axes["batch_size"] == "auto" else None
        return {
            "kind": self.kind,
            "model_size": combination["size"],
            **size.model_dump(),
            **axes,
            **{name: getattr(self, name) for name in Measurement.model_fields},
            "device": self.device,
            "memory_budget_mib": self.memory_budget_mib,
            "batch_size_search": search,
        }


class _TrainingPoint(ProbedRun):
    kind: Literal["training"] = "training"
    model_size: Name = Field(description="Name of the size; a label.")
    context_length: ContextLength
    batch_size: BatchSize
    mode: Mode
    precision: Precision = "fp32"
    attn_implementation: AttnImplementation = "sdpa"
    compile: bool = False
    num_threads: NumThreads = 0


class TrainingRun(Measurement, Size, _TrainingPoint):
    """The resolved settings of one run of kind `training`: all that its programs read."""

    # Settings that stand in a run's readable name, in order, with what stands before the value.
    slug: ClassVar[dict[str, str]] = {
        "model_size": "",
        "context_length": "ctx",
        "mode": "",
        "precision": "",
        "attn_implementation": "",
        "compile": "compile",
        "num_threads": "threads",
        "batch_size": "b",
    }

    @property
    def forward_only(self) -> bool:
        """Whether the backward pass is left out; the older name of `mode: forward`."""
        return self.mode == "forward"
