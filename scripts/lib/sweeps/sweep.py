"""What sweeps of every kind share: the grid, its exceptions, the device."""

from collections.abc import Iterator
from functools import cache
from itertools import product
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator

from scripts.lib.schema.base import StrictModel
from scripts.lib.sweeps.batch_size import BatchSizeSearch
from scripts.lib.sweeps.sizes import Size

Device = Annotated[
    Literal["auto", "cpu", "cuda"],
    Field(description="`auto` takes a CUDA device where the job sees one, the CPU elsewhere."),
]
MemoryBudgetMib = Annotated[
    float | None,
    Field(
        gt=0,
        description="Memory a run may use, MiB. Unset: 80 % of the host's memory on a CPU, "
        "the device's memory on CUDA.",
    ),
]


class SweepBase(StrictModel):
    """What the configuration asks of the sweep of every kind, which redeclares `kind`."""

    kind: str
    description: str = Field("", description="Said in the report; changes no run.")

    def notes(self) -> list[str]:
        """Lines for the user about what in the sweep has no effect; none by default."""
        return []

    def runs(self, sizes: dict[str, Size]) -> Iterator[dict[str, Any]]:
        """Yield the resolved settings of each run, in order.

        Raises InputError with a line for each problem of a file that the sweep names.
        """
        raise NotImplementedError

    def problems(self, sizes: dict[str, Size]) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Yield the keys and the problem of each name that is not in the table of sizes."""
        yield from ()


class MeasuredSweep(SweepBase):
    """What every sweep of measurements says beside what it varies."""

    device: Device = "auto"
    memory_budget_mib: MemoryBudgetMib = None
    batch_size_search: BatchSizeSearch = Field(
        BatchSizeSearch(), description="How `batch_size: auto` finds its number."
    )


class GridSweep(MeasuredSweep):
    """A named sweep over the product of its axes.

    A kind's sweep inherits from its `Axes` model and from this class, names that model in
    `axes`, and turns one combination of axis values into the settings of a run in `settings`.
    """

    exclude: list[Any]
    include: list[Any]

    def runs(self, sizes: dict[str, Size]) -> Iterator[dict[str, Any]]:
        """Yield the settings of each run, in the order of the grid."""
        for combination in self.combinations():
            yield self.settings(combination, sizes)

    def combinations(self) -> Iterator[dict[str, Any]]:
        """Yield one value per axis: the grid without `exclude`, then each entry of `include`."""
        axes = {name: getattr(self, name) for name in axis_names(type(self))}
        for combination in _product(axes):
            if not any(_matches(entry, combination) for entry in self.exclude):
                yield combination
        for entry in self.include:
            yield from _product({**axes, **_given(entry)})

    def settings(self, combination: dict[str, Any], sizes: dict[str, Size]) -> dict[str, Any]:
        """Resolve one combination into the settings of a run, a plain mapping."""
        raise NotImplementedError

    @model_validator(mode="after")
    def _exclude_means_something(self) -> Self:
        axes = {name: getattr(self, name) for name in axis_names(type(self))}
        for i, entry in enumerate(self.exclude):
            given = _given(entry)
            if not given:
                raise ValueError(f"exclude[{i}] is empty and would exclude every run")
            for name, values in given.items():
                unknown = [value for value in values if value not in axes[name]]
                if unknown:
                    allowed = ", ".join(map(str, axes[name]))
                    raise ValueError(
                        f"exclude[{i}] excludes nothing: {name} {unknown[0]!r} is not on the axis "
                        f"({allowed})"
                    )
        if next(self.combinations(), None) is None:
            raise ValueError("exclude leaves no run")
        return self


@cache
def axis_names(sweep: type[GridSweep]) -> tuple[str, ...]:
    """Names of a sweep's axes, in the order of its model."""
    return tuple(get_args(sweep.model_fields["exclude"].annotation)[0].model_fields)


def entry_of(axes: type[BaseModel]) -> type[BaseModel]:
    """Model of one entry of `exclude` or `include`: any of the axes, at least one value each."""
    fields: dict[str, Any] = {}
    for name, field in axes.model_fields.items():
        kind: Any = Annotated.__class_getitem__((field.annotation, *field.metadata))  # type: ignore[attr-defined]
        fields[name] = (kind | None, Field(None, description=field.description))
    config = ConfigDict(extra="forbid", strict=True, frozen=True)
    doc = f"Values of some axes of {axes.__name__}; an axis that is left out has all its values."
    return create_model(f"{axes.__name__}Entry", __config__=config, __doc__=doc, **fields)


def _given(entry: BaseModel) -> dict[str, list[Any]]:
    return {name: value for name, value in entry if value is not None}


def _matches(entry: BaseModel, combination: dict[str, Any]) -> bool:
    return all(combination[name] in values for name, values in _given(entry).items())


def _product(axes: dict[str, list[Any]]) -> Iterator[dict[str, Any]]:
    for values in product(*axes.values()):
        yield dict(zip(axes, values, strict=True))
