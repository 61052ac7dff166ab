"""Sweeps of kind `accuracy`: how accurate a model stays when an efficiency knob is turned."""

import random
from collections.abc import Iterator
from itertools import product
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from scripts.lib.kinds.accuracy.measurement import (
    EMBEDDED,
    KNOBS,
    AccuracyMeasurement,
    BlockList,
    BlockSelection,
    EmbeddedVlm,
    Importance,
    MaxCrops,
    Metric,
    NumActiveBlocks,
    Reference,
    Seed,
    TopK,
)
from scripts.lib.schema.base import Axis, Text, problem_at
from scripts.lib.sweeps.run import ProbedRun
from scripts.lib.sweeps.sizes import Size
from scripts.lib.sweeps.sweep import MeasuredSweep

Point = dict[str, Any]


class AccuracySweep(AccuracyMeasurement, MeasuredSweep):
    """Accuracy on a data set at several values of up to three efficiency knobs."""

    kind: Literal["accuracy"]
    model: Axis[Text] = Field(
        [EMBEDDED],
        description="`embedded` (trained here on a CPU), a folder (`./NAME`), or a model on the "
        "hub (`ORGANISATION/NAME`).",
    )
    embedded: EmbeddedVlm = Field(EmbeddedVlm(), description="The embedded model.")
    max_crops: Axis[MaxCrops] | None = Field(
        None, description="Largest numbers of crops that an image is cut into."
    )
    max_crops_list: Axis[MaxCrops] | None = Field(None, description="Other name of `max_crops`.")
    start_from_max_crops: MaxCrops | None = Field(
        None, description="Smaller values of `max_crops` are left out."
    )
    top_k: Axis[TopK] | None = Field(None, description="Numbers of experts of a token.")
    top_k_list: Axis[TopK] | None = Field(None, description="Other name of `top_k`.")
    start_from_top_k: TopK | None = Field(
        None, description="Smaller values of `top_k` are left out."
    )
    num_active_blocks: Axis[NumActiveBlocks] | None = Field(
        None, description="Numbers of decoder blocks that stay."
    )
    num_active_blocks_list: Axis[NumActiveBlocks] | None = Field(
        None, description="Other name of `num_active_blocks`."
    )
    start_from_num_active_blocks: NumActiveBlocks | None = Field(
        None, description="Smaller values of `num_active_blocks` are left out."
    )
    block_selection: (
        Literal["prefix", "importance"] | BlockList | list[Literal["prefix", "importance"]]
    ) = Field(
        "prefix",
        description="Which blocks stay: the first ones (`prefix`), the most important ones "
        "(`importance`: each is left out once and the loss of accuracy measured), both as a list, "
        "or a list of block numbers, most important first.",
    )
    importance: Importance = Field(Importance(), description="How importance is measured.")
    combine: Literal["each_alone", "grid", "sample"] = Field(
        "each_alone",
        description="`each_alone`: one knob is turned, the others stay at the reference. `grid`: "
        "all combinations. `sample`: `samples` of them, a Latin hypercube.",
    )
    samples: int = Field(
        8, ge=1, le=100_000, description="Points of `combine: sample`; equal ones are dropped."
    )
    sample_seed: Seed = Field(0, description="Seed of `combine: sample`.")
    reference: Reference = Field(Reference(), description="Point to compare with; always run.")

    @model_validator(mode="after")
    def _knobs_mean_something(self) -> Self:
        for knob in KNOBS:
            if getattr(self, knob) is not None and getattr(self, f"{knob}_list") is not None:
                raise problem_at((f"{knob}_list",), f"is the same as {knob}; give one of them")
            start = getattr(self, f"start_from_{knob}")
            if start is not None and not self.values(knob):
                given = getattr(self, knob) or getattr(self, f"{knob}_list")
                told = f"leaves none of {knob} {given}" if given else f"needs {knob}"
                raise problem_at((f"start_from_{knob}",), told)
        for model in self.model:
            if model != EMBEDDED and "/" not in model:
                raise problem_at(
                    ("model",),
                    f"unknown model {model!r}; allowed: {EMBEDDED}, a folder (./NAME) or a model "
                    "on the hub (ORGANISATION/NAME)",
                )
        if EMBEDDED in self.model:
            self._embedded_allows("top_k", self.embedded.num_experts, "experts")
            self._embedded_allows("num_active_blocks", self.embedded.num_layers, "blocks")
            for number in self._listed_blocks():
                if number >= self.embedded.num_layers:
                    raise problem_at(
                        ("block_selection",),
                        f"block {number} is none of the embedded model's 0 to "
                        f"{self.embedded.num_layers - 1}",
                    )
        for selection in self._selections():
            if isinstance(selection, list) and len(set(selection)) < len(selection):
                raise problem_at(("block_selection",), "a block stands twice")
        if listed := self._listed_blocks():
            above = [n for n in self.values("num_active_blocks") if n > len(listed)]
            if above:
                raise problem_at(
                    ("num_active_blocks",),
                    f"{above[0]} is more than the {len(listed)} blocks of block_selection",
                )
        return self

    def _embedded_allows(self, knob: str, most: int, what: str) -> None:
        named = f"{knob}_list" if getattr(self, f"{knob}_list") is not None else knob
        reference = getattr(self.reference, knob)
        places = [((named,), value) for value in self.values(knob)]
        places += [(("reference", knob), reference)] if reference else []
        for keys, value in places:
            if value > most:
                raise problem_at(
                    keys, f"{value} is out of range: the embedded model has {most} {what}"
                )

    def values(self, knob: str) -> list[int]:
        """Values of a knob; none where the sweep leaves it alone."""
        given = getattr(self, knob) or getattr(self, f"{knob}_list") or []
        start = getattr(self, f"start_from_{knob}") or 0
        return [value for value in given if value >= start]

    def reference_point(self, model: str) -> Point:
        """Values of the knobs at the reference; None is the model's own."""
        point = self.reference.model_dump()
        point["max_crops"] = point["max_crops"] or max(self.values("max_crops"), default=None)
        if model == EMBEDDED:
            own = {
                "max_crops": self.embedded.max_grid**2,
                "top_k": self.embedded.top_k,
                "num_active_blocks": self.embedded.num_layers,
            }
            point = {knob: point[knob] or own[knob] for knob in KNOBS}
        return point

    def points(self, model: str) -> list[Point]:
        """Values of the knobs of each point, the reference first, none twice."""
        reference = self.reference_point(model)
        axes = {knob: self.values(knob) or [reference[knob]] for knob in KNOBS}
        if self.combine == "each_alone":
            rest = [reference | {knob: v} for knob, values in axes.items() for v in values]
        elif self.combine == "grid":
            rest = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
        else:
            rest = latin_hypercube(axes, self.samples, self.sample_seed)
        found: list[Point] = []
        for point in [reference, *rest]:
            if point not in found:
                found.append(point)
        return found

    def runs(self, sizes: dict[str, Size]) -> Iterator[dict[str, Any]]:
        """Yield the settings of each run; the first one of a model is its reference."""
        for model in self.model:
            for point in self.points(model):
                whole = point["num_active_blocks"] in (None, self._own_blocks(model))
                # With all blocks there is nothing to select.
                for selection in [None] if whole else self._selections():
                    yield self._settings(model, point, selection)

    def _own_blocks(self, model: str) -> int | None:
        return self.embedded.num_layers if model == EMBEDDED else None

    def _selections(self) -> list[Any]:
        given = self.block_selection
        if isinstance(given, str):
            return [given]
        return [given] if isinstance(given[0], int) else list(given)

    def _listed_blocks(self) -> list[int]:
        return next((s for s in self._selections() if isinstance(s, list)), [])

    def _settings(self, model: str, point: Point, selection: Any) -> dict[str, Any]:
        measured = {
            name: value
            for name, value in self.model_dump().items()
            if name in AccuracyMeasurement.model_fields
        }
        embedded_data = self.dataset.path == EMBEDDED
        measured["metric"] = self.metric or ("digit_accuracy" if embedded_data else "exact_match")
        importance = None
        if selection == "importance":
            importance = self.importance.model_dump() | {
                "max_crops": self.reference_point(model)["max_crops"]
            }
        auto = self.batch_size == "auto"
        return {
            "kind": self.kind,
            "model": model,
            "embedded": self.embedded.model_dump() if model == EMBEDDED else None,
            **point,
            "block_selection": selection,
            "importance": importance,
            **measured,
            "device": self.device,
            "memory_budget_mib": self.memory_budget_mib,
            "batch_size_search": self.batch_size_search.model_dump() if auto else None,
        }


class MeasuredImportance(Importance):
    """The measurement of importance that a run rests on."""

    max_crops: MaxCrops | None = None


class AccuracyRun(AccuracyMeasurement, ProbedRun):
    """The resolved settings of one run of kind `accuracy`: all that its programs read."""

    # Settings that stand in a run's readable name, in order, with what stands before the value.
    slug: ClassVar[dict[str, str]] = {
        "model": "",
        "max_crops": "crops",
        "top_k": "k",
        "num_active_blocks": "blocks",
        "block_selection": "",
        "num_samples": "n",
        "ranks": "g",
    }

    kind: Literal["accuracy"] = "accuracy"
    model: Text = EMBEDDED
    embedded: EmbeddedVlm | None = None
    max_crops: MaxCrops | None = None
    top_k: TopK | None = None
    num_active_blocks: NumActiveBlocks | None = None
    block_selection: BlockSelection | None = None
    importance: MeasuredImportance | None = None
    metric: Metric = "exact_match"

    @model_validator(mode="after")
    def _embedded_has_settings(self) -> Self:
        if (self.model == EMBEDDED) != (self.embedded is not None):
            raise problem_at(("embedded",), "belongs to model: embedded, and only to it")
        return self

    @property
    def point(self) -> str:
        """The knobs as people read them; empty where all are the model's own."""
        values = ((knob, getattr(self, knob)) for knob in KNOBS)
        return " ".join(f"{knob}={value}" for knob, value in values if value is not None)


def latin_hypercube(axes: dict[str, list[Any]], count: int, seed: int) -> list[Point]:
    """Draw `count` points whose values are spread evenly along each axis, and paired at random.

    Each axis is cut into `count` strata and each stratum used once (McKay, Beckman and Conover,
    Technometrics 21, 1979); a stratum's value is that of the axis at its middle.
    """
    generator = random.Random(seed)
    columns = {}
    for name, values in axes.items():
        column = [values[(2 * i + 1) * len(values) // (2 * count)] for i in range(count)]
        generator.shuffle(column)
        columns[name] = column
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
