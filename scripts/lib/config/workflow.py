"""The whole configuration of the workflow: the sweeps and what they refer to."""

import re
from collections.abc import Iterator
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from scripts.lib.config.accuracy import AccuracyRun, AccuracySweep
from scripts.lib.config.ddp import DdpRun, DdpSweep
from scripts.lib.config.inference import InferenceRun, InferenceSweep
from scripts.lib.config.sizes import Size
from scripts.lib.config.training import TrainingRun, TrainingSweep
from scripts.lib.schema.base import Name, StrictModel, problem_at

# A new kind adds its sweep to this union and its run to the table. A sweep has `runs(sizes)`, which
# yields the settings of each run, and `notes()`; a run's model names in `slug` the settings that
# its id shows.
Sweep = Annotated[
    TrainingSweep | InferenceSweep | DdpSweep | AccuracySweep, Field(discriminator="kind")
]
RUN_MODELS = {
    "training": TrainingRun,
    "inference": InferenceRun,
    "ddp": DdpRun,
    "accuracy": AccuracyRun,
}


def _selection(batches: str) -> str:
    if not re.fullmatch(r"\d{1,9}(-\d{1,9})?(,\d{1,9}(-\d{1,9})?)*", batches):
        raise ValueError(f"must be numbers and ranges such as 0-2 or 1,4-6, got {batches!r}")
    return batches


Batches = Annotated[str, AfterValidator(_selection)] | Annotated[int, Field(ge=0)]


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

    batches: Batches | None = Field(
        None,
        description="Batches of each sweep that a call is restricted to, e.g. `0-2` or `1,4-6`; "
        "for `--config batches=0-2`. The summary is made by a call without it.",
    )

    @model_validator(mode="after")
    def _models_are_known(self) -> Self:
        for name, sweep in self.sweeps.items():
            combinations = sweep.combinations() if sweep.kind == "ddp" else ()
            for model in dict.fromkeys(point["model"] for point in combinations):
                # A slash tells a folder or a model on the hub from a mistyped size.
                if model not in self.sizes and "/" not in model:
                    raise problem_at(
                        ("sweeps", name, "model"),
                        f"unknown model {model!r}; allowed: {', '.join(self.sizes)}, a folder "
                        "(./NAME) or a model on the hub (ORGANISATION/NAME)",
                    )
        return self

    @model_validator(mode="after")
    def _sizes_are_known(self) -> Self:
        for name, sweep in self.sweeps.items():
            for keys, size in _named_sizes(sweep):
                if size not in self.sizes:
                    allowed = ", ".join(self.sizes)
                    raise problem_at(
                        ("sweeps", name, *keys), f"unknown size {size!r}; allowed: {allowed}"
                    )
        return self


def _named_sizes(sweep: StrictModel) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield the sizes on the axes of a sweep and where they stand; other kinds name none."""
    included = enumerate(getattr(sweep, "include", ()))
    for keys, axes in [((), sweep), *((("include", i), entry) for i, entry in included)]:
        for size in getattr(axes, "size", None) or ():
            yield (*keys, "size"), size
