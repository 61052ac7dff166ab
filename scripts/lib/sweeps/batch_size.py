"""How the largest usable batch of a run is searched for."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from scripts.lib.schema.base import StrictModel


class ScaleStep(StrictModel):
    """Line of a table of scale factors."""

    up_to: float | None = Field(
        None, description="Largest value of the setting for this line; unset in the last line."
    )
    factor: float = Field(gt=0, le=1, description="Share of `upper_limit` to begin with.")


def _table(*lines: tuple[float | None, float]) -> list[ScaleStep]:
    return [ScaleStep(up_to=up_to, factor=factor) for up_to, factor in lines]


class ScaleFactors(StrictModel):
    """Where `strategy: estimate` begins: a share of `upper_limit` for a value of each setting.

    The factors of all settings that a run has are multiplied. An empty table is a factor of 1.
    """

    max_crops: list[ScaleStep] = Field(
        _table((2, 1.0), (4, 0.8), (6, 0.6), (8, 0.5), (10, 0.4), (12, 0.3), (None, 0.25)),
        description="By the number of image crops.",
    )
    top_k: list[ScaleStep] = Field(
        _table((2, 1.0), (4, 0.9), (8, 0.8), (None, 0.7)),
        description="By the number of experts a token is sent to.",
    )
    num_active_blocks: Literal["linear"] | list[ScaleStep] = Field(
        "linear",
        description="By the share of the blocks that are active; `linear`: the share itself.",
    )
    context_length: list[ScaleStep] = Field([], description="By the tokens of a sequence.")

    @field_validator("*")
    @classmethod
    def _lines_rise(cls, table: str | list[ScaleStep]) -> str | list[ScaleStep]:
        if isinstance(table, list) and table:
            bounds = [step.up_to for step in table[:-1]]
            given = [bound for bound in bounds if bound is not None]
            rising = given == sorted(set(given)) == bounds
            if not rising or table[-1].up_to is not None:
                raise ValueError("`up_to` must rise from line to line and be unset in the last")
        return table

    def start(self, settings: Mapping[str, Any], upper_limit: int) -> int:
        """Batch size to begin with for a run with these settings, from 1 to `upper_limit`."""
        values = {
            name: settings[name]
            for name in ("max_crops", "top_k", "context_length")
            if settings.get(name) is not None
        }
        if settings.get("num_active_blocks") and settings.get("total_blocks"):
            values["num_active_blocks"] = settings["num_active_blocks"] / settings["total_blocks"]
        size = float(upper_limit)
        for name, value in values.items():
            size *= _factor(getattr(self, name), value)
        return max(1, min(int(size + 1e-9), upper_limit))


def _factor(table: str | list[ScaleStep], value: float) -> float:
    if isinstance(table, str):  # `linear`
        return value
    return next((s.factor for s in table if s.up_to is None or value <= s.up_to), 1.0)


class BatchSizeSearch(StrictModel):
    """Search for the largest batch size; it takes place where `batch_size: auto` is asked for."""

    auto_adjust_batch_size: bool = Field(
        True, description="`false`: take `upper_limit` as it is, without probing."
    )
    strategy: Literal["guided", "estimate", "gallop"] = Field(
        "guided",
        description="`guided`: follow the line of memory. `estimate`: begin at a share of the "
        "upper limit, grow by half, at most `max_attempts` probes, so mostly without a "
        "certificate. `gallop`: double until a batch fails, then bisect.",
    )
    lower_limit: int = Field(
        1, ge=1, le=1 << 20, description="Smallest batch size that is of interest."
    )
    upper_limit: int = Field(
        64, ge=1, le=1 << 20, description="Largest batch size that is of interest."
    )
    margin: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="Part of the memory budget that `recommended_batch_size` leaves free.",
    )
    margin_mib: float | None = Field(
        None, ge=0, description="Memory that it leaves free, MiB; takes the place of `margin`."
    )
    use: Literal["largest", "recommended"] = Field(
        "largest",
        description="Which size is measured: the largest that fits, or the one with the margin, "
        "which is then probed, too.",
    )
    max_attempts: int = Field(
        5, ge=1, le=1000, description="Probes that `strategy: estimate` makes at most."
    )
    scale_factors: ScaleFactors | None = Field(
        None,
        description="Where `strategy: estimate` begins. Unset: the tables of the batch-size guide.",
    )
    repeat: int = Field(
        1,
        ge=1,
        le=100,
        description="How often the size found must fit, for memory that differs between probes.",
    )
    budget_method: Literal["auto", "budget", "rlimit", "cuda", "cuda_fraction"] = Field(
        "auto",
        description="How the memory budget is imposed. CPU: `budget` counts tensor storage, "
        "`rlimit` lets the system refuse memory. CUDA: `cuda` is the whole device, `cuda_fraction` "
        "a limit of torch's allocator. `auto`: `budget`, or on CUDA `cuda_fraction` where there is "
        "a `memory_budget_mib` and `cuda` where not.",
    )
    workload: Literal["steps", "generate"] = Field(
        "steps",
        description="What a probe does: two steps of the run, or a forward pass and a generation "
        "of `max_new_tokens` that no end-of-sequence token cuts short.",
    )
    max_new_tokens: int = Field(
        32, ge=1, le=1 << 20, description="Tokens that a probe with `workload: generate` adds."
    )
    knee: bool = Field(
        False,
        description="Time the size found and its halves, and report `knee_batch_size`: the "
        "smallest within 5 % of the best samples per second.",
    )
    probe_timeout_s: float = Field(
        600, gt=0, description="A probe that takes longer than this many seconds has failed."
    )

    @model_validator(mode="after")
    def _limits_leave_a_size(self) -> Self:
        if self.lower_limit > self.upper_limit:
            raise ValueError(
                f"lower_limit {self.lower_limit} is above upper_limit {self.upper_limit}"
            )
        return self

    def allowed_mib(self, budget_mib: float) -> float:
        """Memory that the recommended batch may take of a budget, MiB."""
        if self.margin_mib is not None:
            return budget_mib - self.margin_mib
        return (1 - self.margin) * budget_mib
