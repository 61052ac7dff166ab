"""The whole configuration of the workflow: the sweeps and what they refer to."""

from typing import Self

from pydantic import Field, model_validator

from scripts.lib.config.sizes import Size
from scripts.lib.config.training import TrainingRun, TrainingSweep
from scripts.lib.schema.base import Name, StrictModel, problem_at

# A new kind adds its sweep to this union (`Annotated[A | B, Field(discriminator="kind")]`) and
# its run to the table.
Sweep = TrainingSweep
RUN_MODELS = {"training": TrainingRun}


class WorkflowConfig(StrictModel):
    """Top level of a configuration file."""

    sweeps: dict[Name, Sweep] = Field(
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

    @model_validator(mode="after")
    def _sizes_are_known(self) -> Self:
        for name, sweep in self.sweeps.items():
            named = [sweep.size, *(entry.size or [] for entry in sweep.include)]
            for size in (size for axis in named for size in axis):
                if size not in self.sizes:
                    allowed = ", ".join(self.sizes)
                    raise problem_at(
                        ("sweeps", name, "size"), f"unknown size {size!r}; allowed: {allowed}"
                    )
        return self
