"""Sweeps of kind `accuracy`: how accurate a model stays when an efficiency knob is turned."""

import hashlib
import json
import random
from collections.abc import Iterator
from itertools import product
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, ValidationError, model_validator

from scripts.lib.config.batch_size import BatchSizeSearch
from scripts.lib.config.sizes import Size
from scripts.lib.config.sweep import Device, MeasuredSweep, MemoryBudgetMib
from scripts.lib.schema.base import Axis, StrictModel, Text, problem_at
from scripts.lib.schema.errors import InputError

EMBEDDED = "embedded"
FILE_FORMATS = ("csv", "json", "parquet", "imagefolder")
KNOBS = ("max_crops", "top_k", "num_active_blocks")

MaxCrops = Annotated[int, Field(ge=1, le=1024)]
TopK = Annotated[int, Field(ge=1, le=4096)]
NumActiveBlocks = Annotated[int, Field(ge=1, le=10_000)]
BlockList = Annotated[list[Annotated[int, Field(ge=0, le=9999)]], Field(min_length=1)]
BlockSelection = Literal["prefix", "importance"] | BlockList
Metric = Literal["exact_match", "vqa_accuracy", "anls", "multiple_choice", "digit_accuracy"]
AccuracyPrecision = Literal["auto", "fp32", "bf16", "fp16"]
ExpertsImplementation = Literal["auto", "eager", "batched_mm", "grouped_mm"]
FilePath = Annotated[str, Field(pattern=r"^[^{}]+$", min_length=1)]
Seed = Annotated[int, Field(ge=0, lt=1 << 32)]


class EmbeddedVlm(StrictModel):
    """The small vision-language model that is trained on the CPU where `model: embedded`.

    A vision tower and a mixture-of-experts decoder read handwritten digits in images of up to
    `max_grid` x `max_grid` of them.
    """

    d_model: int = Field(64, ge=16, le=1024, multiple_of=8, description="Width of the decoder.")
    num_layers: int = Field(6, ge=1, le=64, description="Decoder blocks.")
    num_experts: int = Field(8, ge=1, le=256, description="Experts of each block.")
    top_k: int = Field(4, ge=1, le=256, description="Experts that a token is sent to.")
    moe_d_ff: int = Field(32, ge=8, le=4096, description="Inner width of an expert.")
    vision_d_model: int = Field(64, ge=16, le=1024, multiple_of=8, description="Vision width.")
    vision_layers: int = Field(2, ge=1, le=64, description="Blocks of the vision tower.")
    max_grid: int = Field(3, ge=2, le=4, description="Most digits along a side of an image.")
    vision_steps: int = Field(
        300, ge=1, le=100_000, description="Steps in which the vision tower learns single digits."
    )
    steps: int = Field(1000, ge=1, le=1_000_000, description="Steps of the whole model.")
    train_batch_size: int = Field(96, ge=1, le=4096, description="Images of a step.")
    learning_rate: float = Field(3e-3, gt=0, lt=1, description="Largest one, of AdamW.")
    shallow_share: float = Field(
        0.3, ge=0, le=1, description="Share of steps that train a random number of first blocks."
    )
    seed: Seed = Field(0, description="Of weights and images.")

    @model_validator(mode="after")
    def _experts_suffice(self) -> Self:
        if self.top_k > self.num_experts:
            raise problem_at(("top_k",), f"{self.top_k} is above num_experts {self.num_experts}")
        return self


class AccuracyData(StrictModel):
    """Questions, mostly about images, with their answers."""

    path: Text = Field(
        EMBEDDED,
        description="`embedded` (images of handwritten digits; no network), `csv`, `json`, "
        "`parquet` or `imagefolder` with `data_files`, or the name of a data set on the hub or "
        "its folder.",
    )
    data_files: list[FilePath] | None = Field(None, min_length=1, description="Files to read.")
    name: Text | None = Field(None, description="Configuration of a data set on the hub.")
    split: Text = Field("test", description="Split of a data set on the hub.")
    image_column: Text | None = Field(
        None, description="Column of the image: one, or the path of its file. Unset: text only."
    )
    question_column: Text = Field("question", description="Column of the question.")
    answer_column: Text = Field(
        "answer", description="Column of the answer: a text, a number, or a list of texts."
    )
    choices_column: Text | None = Field(
        None, description="Column with the list of choices, for `multiple_choice`."
    )
    prompt: str = Field(
        "{question}", description="What the model is asked; `{question}` stands for the question."
    )
    dataset_dir: FilePath | None = Field(
        None, description="Folder for what is downloaded. Unset: that of `datasets`."
    )

    @model_validator(mode="after")
    def _files_belong_to_a_format(self) -> Self:
        if self.path in FILE_FORMATS and not self.data_files:
            raise problem_at(("data_files",), f"required with path: {self.path}")
        if self.path not in FILE_FORMATS and self.data_files:
            raise problem_at(
                ("data_files",), f"needs a path of {', '.join(FILE_FORMATS)}, got {self.path}"
            )
        if "{question}" not in self.prompt:
            raise problem_at(
                ("prompt",), "has no place for the question, which is question in braces"
            )
        return self


class Importance(StrictModel):
    """How the blocks are ranked for `block_selection: importance`: each is left out once."""

    num_samples: int = Field(
        200, ge=1, le=1 << 20, description="Samples on which each block is left out once."
    )


class AccuracyMeasurement(StrictModel):
    """How each point of an accuracy sweep is evaluated."""

    dataset: AccuracyData = Field(AccuracyData(), description="The questions.")
    metric: Metric | None = Field(
        None,
        description="How an answer is scored, from 0 to 1. Unset: `digit_accuracy` for the "
        "embedded data, `exact_match` for other.",
    )
    num_samples: int = Field(
        1000, ge=1, le=1 << 24, description="Samples, drawn with `seed`; fewer if there are fewer."
    )
    batch_size: Literal["auto"] | Annotated[int, Field(ge=1, le=1 << 20)] = Field(
        32, description="Samples of a batch. `auto`: the largest that fits, found by probing."
    )
    max_new_tokens: int = Field(
        16, ge=1, le=1 << 16, description="Tokens after which an answer is cut off."
    )
    ranks: int = Field(
        1, ge=1, le=4096, description="Processes, each with a device, that share the samples."
    )
    precision: AccuracyPrecision = Field(
        "auto", description="Type of the weights. `auto`: `bf16` on CUDA, `fp32` on a CPU."
    )
    experts_implementation: ExpertsImplementation = Field(
        "auto", description="How experts are computed. `auto`: what transformers chooses."
    )
    seed: Seed = Field(0, description="Which samples are drawn.")
    trust_remote_code: bool = Field(
        False, description="Whether code that comes with a model or data set may run."
    )


class Reference(StrictModel):
    """The point with which the others are compared; unset: the model's own value."""

    max_crops: MaxCrops | None = Field(None, description="Unset: the largest value of the sweep.")
    top_k: TopK | None = Field(None, description="Unset: what the checkpoint says.")
    num_active_blocks: NumActiveBlocks | None = Field(None, description="Unset: all of them.")


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
    samples: int = Field(8, ge=1, le=100_000, description="Points of `combine: sample`.")
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

    def notes(self) -> list[str]:
        """Lines for the user about what has no effect; there are none."""
        return []

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


class AccuracyRun(AccuracyMeasurement):
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
    device: Device = "auto"
    memory_budget_mib: MemoryBudgetMib = None
    batch_size_search: BatchSizeSearch | None = None

    @model_validator(mode="after")
    def _embedded_has_settings(self) -> Self:
        if (self.model == EMBEDDED) != (self.embedded is not None):
            raise problem_at(("embedded",), "belongs to model: embedded, and only to it")
        return self

    # What the search for the largest batch calls these things, for runs of every kind.
    @property
    def model_size(self) -> str:
        """Name of the model."""
        return self.model

    @property
    def point(self) -> str:
        """The knobs as people read them; empty where all are the model's own."""
        values = ((knob, getattr(self, knob)) for knob in KNOBS)
        return " ".join(f"{knob}={value}" for knob, value in values if value is not None)

    @property
    def context_length(self) -> None:
        """Unknown: it follows from images and questions."""

    @property
    def mode(self) -> str:
        """What a probe does."""
        return "generate"

    @property
    def num_threads(self) -> int:
        """Threads of a rank on a CPU: more are slower for small models."""
        return 1

    @property
    def total_blocks(self) -> int | None:
        """Blocks of the model where that is known without loading it."""
        return self.embedded.num_layers if self.embedded else None


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


def _digest(told: Any) -> str:
    canonical = json.dumps(told, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:8]


def vlm_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of a run that decide its embedded model, as settings of a run."""
    return {"embedded": settings["embedded"]}


def importance_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of a run that decide the importance of its blocks, as settings of a run."""
    names = ("model", "embedded", "importance", "dataset", "metric", "seed", "max_new_tokens",
             "precision", "experts_implementation", "trust_remote_code", "device")  # fmt: skip
    return {name: settings[name] for name in names}


def vlm_digest(settings: dict[str, Any]) -> str:
    """8 hex digits of what decides the embedded model; runs that share it share the model."""
    return _digest(vlm_settings(settings))


def importance_digest(settings: dict[str, Any]) -> str:
    """8 hex digits of what decides the importance of the blocks of a run."""
    return _digest(importance_settings(settings))


def read_settings(run: str | None, text: str | None) -> AccuracyRun:
    """Settings of a run file, or of JSON text that leaves out what does not matter.

    Raises InputError when it is neither.
    """
    from scripts.lib.config.runs import load_run

    if (run is None) == (text is None):
        raise InputError("--run or --settings: give one of them")
    if run is not None:
        _, found = load_run(run)
        if not isinstance(found, AccuracyRun):
            raise InputError(f"{run}: is of kind {found.kind}, not accuracy")
        return found
    try:
        return AccuracyRun.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole text"
        raise InputError(f"--settings: {place}: {first['msg']}") from None
