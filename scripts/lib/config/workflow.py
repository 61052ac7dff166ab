"""The whole configuration of the workflow: the sweeps and what they refer to."""

import re
from typing import TYPE_CHECKING, Annotated, Self, Union

from pydantic import AfterValidator, Field, model_validator

from scripts.lib.kinds.registry import KINDS
from scripts.lib.schema.base import Name, StrictModel, problem_at
from scripts.lib.sweeps.sizes import Size
from scripts.lib.sweeps.sweep import SweepBase

if TYPE_CHECKING:
    AnySweep = SweepBase
else:
    AnySweep = Annotated[
        Union[tuple(kind.sweep for kind in KINDS.values())],  # noqa: UP007
        Field(discriminator="kind"),
    ]


def _selection(batches: str) -> str:
    if not re.fullmatch(r"\d{1,9}(-\d{1,9})?(,\d{1,9}(-\d{1,9})?)*", batches):
        raise ValueError(f"must be numbers and ranges such as 0-2 or 1,4-6, got {batches!r}")
    return batches


Batches = Annotated[str, AfterValidator(_selection)] | Annotated[int, Field(ge=0)]


class WorkflowConfig(StrictModel):
    """Top level of a configuration file."""

    sweeps: dict[Name, AnySweep] = Field(
        min_length=1, description="The sweeps by name; the key `kind` says what is measured."
    )
    sizes: dict[Name, Size] = Field(
        {}, description="Model sizes that are added to, or replace, lines of config/sizes.yaml."
    )
    max_batch_size: int = Field(
        256,
        ge=1,
        le=500,
        description="Runs of one batch file `results/batches/{sweep}/{batch}.csv`.",
    )

    batches: Batches | None = Field(
        None,
        description="Batches of each sweep that a call is restricted to, e.g. `0-2` or `1,4-6`; "
        "for `--config batches=0-2`. The summary is made by a call without it.",
    )

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        for name, sweep in self.sweeps.items():
            for keys, problem in sweep.problems(self.sizes):
                raise problem_at(("sweeps", name, *keys), problem)
        return self
