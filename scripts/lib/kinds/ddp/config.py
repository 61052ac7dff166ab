"""Sweeps of kind `ddp`: data-parallel training steps on text of varying length."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from scripts.lib.schema.base import Axis, StrictModel, Text, no_repeats, problem_at, refuse_given
from scripts.lib.sweeps.checkpoints import WEIGHTS, files_in
from scripts.lib.sweeps.identity import digest_of, identity_of
from scripts.lib.sweeps.run import ProbedRun
from scripts.lib.sweeps.sizes import Size
from scripts.lib.sweeps.sweep import GridSweep, entry_of

DdpMode = Literal["static", "dynamic", "sorted"]
CostType = Literal["tokens", "tokens_sq", "fitted"]
DdpPrecision = Literal["auto", "fp32", "bf16_mixed", "fp16_mixed"]
Task = Literal["sequence_classification", "causal_lm"]
Ranks = Annotated[int, Field(ge=1, le=4096)]
GlobalBatch = Annotated[int, Field(ge=1, le=1 << 20)]
MaxLength = Annotated[int, Field(ge=4, le=1 << 20)]
Path = Annotated[str, Field(pattern=r"^[^{}]+$", min_length=1)]

FILE_FORMATS = ("csv", "json", "parquet")
EMBEDDED = "embedded"
_OF_COLUMNS = ("text_column", "label_column", "num_labels")
_OF_HUB = ("name", "split", "eval_split")


class TextData(StrictModel):
    """Where the text comes from."""

    path: Text = Field(
        EMBEDDED,
        description="`embedded` (docstrings of Python's standard library, labelled class or "
        "function; no network), `csv`, `json` or `parquet` with `data_files`, or the name of a "
        "data set on the hub or its folder.",
    )
    data_files: list[Path] | None = Field(
        None, min_length=1, description="Files to read; tabs separate where a name ends in `.tsv`."
    )
    eval_files: list[Path] | None = Field(None, min_length=1, description="Files to evaluate on.")
    name: Text | None = Field(None, description="Configuration of a data set on the hub.")
    split: Text = Field("train", description="Split of a data set on the hub.")
    eval_split: Text | None = Field(None, description="Its split to evaluate on.")
    eval_share: float = Field(
        0.05,
        gt=0,
        lt=1,
        description="Share of the rows that is kept for evaluation where nothing else is named.",
    )
    text_column: Text | None = Field(
        None, description="Column of the text. Unset: `sentence` or `text`."
    )
    label_column: Text | None = Field(
        None, description="Column of the label, for classification. Unset: `label`."
    )
    num_labels: int | None = Field(
        None, ge=2, le=1 << 16, description="Number of labels. Unset: as many as the data has."
    )
    dataset_dir: Path | None = Field(
        None, description="Folder for what is downloaded. Unset: that of `datasets`."
    )

    @model_validator(mode="after")
    def _files_belong_to_a_format(self) -> Self:
        if self.path in FILE_FORMATS and not self.data_files:
            raise problem_at(("data_files",), f"required with path: {self.path}")
        if self.path not in FILE_FORMATS and (self.data_files or self.eval_files):
            key = "data_files" if self.data_files else "eval_files"
            raise problem_at((key,), f"needs a path of {', '.join(FILE_FORMATS)}, got {self.path}")
        unused = {EMBEDDED: _OF_COLUMNS + _OF_HUB} | dict.fromkeys(FILE_FORMATS, _OF_HUB)
        refuse_given(self, unused.get(self.path, ()), f"with path: {self.path}")
        return self


class DdpAxes(StrictModel):
    """The axes of a data-parallel sweep; each takes one value or a list."""

    model: Axis[Text] = Field(
        ["tiny"],
        description="Name of a line of the table of sizes (a BERT, or a GPT-2 for `causal_lm`, "
        "with random weights), a folder, or a model on the hub (`organisation/name`).",
    )
    ranks: Axis[Ranks] = Field([2], description="Processes, each with a device or core: G.")
    global_batch: Axis[GlobalBatch] = Field([32], description="Samples of a step on all ranks: B.")
    max_length: Axis[MaxLength] = Field([256], description="Tokens at which a text is cut off.")
    cost_type: Axis[CostType] = Field(
        ["tokens"],
        description="Cost that schedules balance: `tokens` with padding, their square, or `fitted` "
        "to times measured at the start.",
    )
    precision: Axis[DdpPrecision] = Field(
        ["auto"],
        description="`fp32`, or autocast with `bf16_mixed` or `fp16_mixed` over fp32 weights. "
        "`auto`: `bf16_mixed` on CUDA, `fp32` on a CPU.",
    )


DdpEntry: Any = entry_of(DdpAxes)


class DdpMeasurement(StrictModel):
    """How each run of a data-parallel sweep trains and is measured."""

    modes: list[DdpMode] = Field(
        ["static", "dynamic", "sorted"],
        min_length=1,
        description="`static`: equal counts. `dynamic`: prefixes of each rank's buffer. `sorted`: "
        "the static batch, sorted by length and cut into contiguous groups.",
    )
    task: Task = Field("sequence_classification", description="What the model learns.")
    dataset: TextData = Field(TextData(), description="The text.")
    tokenizer: Path | None = Field(
        None,
        description="Hub name, folder, or WordPiece `vocab.txt`. Unset: that of the model, or "
        "WordPiece trained on the text.",
    )
    vocab: int = Field(
        8000, ge=100, le=1 << 20, description="Entries of a vocabulary that is trained."
    )
    steps: int = Field(50, ge=1, le=10_000_000, description="Steps of each mode and seed.")
    warmup_steps: int = Field(
        5, ge=0, le=100_000, description="Of these, the first ones that no figure counts."
    )
    block_steps: int = Field(
        5, ge=1, le=100_000, description="Steps of a mode before the next mode has its turn."
    )
    seeds: list[Annotated[int, Field(ge=0, lt=1 << 32)]] = Field(
        [0],
        min_length=1,
        description="Seeds of weights, order and schedule; everything is repeated for each.",
    )
    buffer_size: int = Field(
        32, ge=1, le=1 << 16, description="Samples that a rank looks ahead in `dynamic`: K."
    )
    accumulation: int = Field(
        1, ge=1, le=4096, description="Parts of a rank's samples whose gradients are added up."
    )
    learning_rate: float = Field(1e-4, gt=0, description="Of AdamW.")
    dropout: float = Field(
        0.1, ge=0, lt=1, description="Of models with random weights; 0 makes modes comparable."
    )
    max_local_batch: Literal["auto"] | Annotated[int, Field(ge=1, le=1 << 20)] | None = Field(
        None,
        description="Samples of the longest length that a rank has memory for; shorter ones may be "
        "more. `auto`: found by probing. Unset: no limit.",
    )
    checkpoint_steps: int = Field(
        50, ge=0, description="Steps after which a checkpoint is written; 0: never."
    )
    trust_remote_code: bool = Field(
        False, description="Whether code that comes with a model, tokenizer or data set may run."
    )

    @model_validator(mode="after")
    def _lists_have_no_repeats(self) -> Self:
        for name in ("modes", "seeds"):
            try:
                no_repeats(getattr(self, name))
            except ValueError as error:
                raise problem_at((name,), str(error)) from None
        if self.warmup_steps >= self.steps:
            raise problem_at(
                ("warmup_steps",), f"{self.warmup_steps} leaves none of the {self.steps} steps"
            )
        return self


class DdpSweep(DdpAxes, DdpMeasurement, GridSweep):
    """Train with static and dynamic batches on several ranks, and compare their steps."""

    kind: Literal["ddp"]
    exclude: list[DdpEntry] = Field([], description="Combinations that are left out of the grid.")
    include: list[DdpEntry] = Field(
        [], description="Further combinations; an axis left out has the values of the grid."
    )

    @model_validator(mode="after")
    def _every_combination_can_be_scheduled(self) -> Self:
        for combination in self.combinations():
            for key, problem in impossible(
                self.modes, combination["ranks"], combination["global_batch"], self.buffer_size
            ):
                raise problem_at((key,), problem)
        return self

    def problems(self, sizes: dict[str, Size]) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Yield each model that is not in the table of sizes, a folder or a name on the hub."""
        for model in dict.fromkeys(point["model"] for point in self.combinations()):
            # A slash tells a folder or a model on the hub from a mistyped size.
            if model not in sizes and "/" not in model:
                yield (
                    ("model",),
                    f"unknown model {model!r}; allowed: {', '.join(sizes)}, a folder "
                    "(./NAME) or a model on the hub (ORGANISATION/NAME)",
                )

    def settings(self, combination: dict[str, Any], sizes: dict[str, Size]) -> dict[str, Any]:
        """Resolve one combination: the size's dimensions, and the search where it is needed."""
        size = sizes.get(combination["model"])
        search = self.batch_size_search.model_dump() if self.max_local_batch == "auto" else None
        return {
            "kind": self.kind,
            **combination,
            "size": size.model_dump() if size else None,
            **{
                name: value
                for name, value in self.model_dump().items()
                if name in DdpMeasurement.model_fields
            },
            "device": self.device,
            "memory_budget_mib": self.memory_budget_mib,
            "batch_size_search": search,
        }


class _DdpPoint(ProbedRun):
    kind: Literal["ddp"] = "ddp"
    model: Text = "tiny"
    size: Size | None = None
    ranks: Ranks = 2
    global_batch: GlobalBatch = 32
    max_length: MaxLength = 256
    cost_type: CostType = "tokens"
    precision: DdpPrecision = "auto"


class DdpRun(DdpMeasurement, _DdpPoint):
    """The resolved settings of one run of kind `ddp`: all that its programs read."""

    # Settings that stand in a run's readable name, in order, with what stands before the value.
    slug: ClassVar[dict[str, str]] = {
        "model": "",
        "task": "",
        "ranks": "g",
        "global_batch": "b",
        "max_length": "len",
        "cost_type": "",
        "precision": "",
    }

    @model_validator(mode="after")
    def _can_be_scheduled(self) -> Self:
        for key, problem in impossible(self.modes, self.ranks, self.global_batch, self.buffer_size):
            raise problem_at((key,), problem)
        return self

    @property
    def seed(self) -> int:
        """The first seed."""
        return self.seeds[0]


def impossible(
    modes: list[str], ranks: int, global_batch: int, buffer_size: int
) -> Iterator[tuple[str, str]]:
    """Yield the key and the problem of numbers that no schedule can fulfil."""
    if global_batch < ranks:
        yield (
            "global_batch",
            f"{global_batch} is smaller than ranks {ranks}; every rank needs a sample of each step",
        )
    elif "static" in modes and global_batch % ranks:
        yield (
            "global_batch",
            f"{global_batch} is no multiple of ranks {ranks}, which mode static needs",
        )
    if "dynamic" in modes and buffer_size * ranks < global_batch:
        yield (
            "buffer_size",
            f"{buffer_size} is too small: {ranks} ranks look ahead at {buffer_size * ranks} "
            f"samples, fewer than global_batch {global_batch}; at least "
            f"{-(-global_batch // ranks)} is needed",
        )


def without_room(run: DdpRun, largest: int | None) -> str:
    """Why `static` may run out of memory, or nothing: it cannot choose what its samples are.

    `largest` samples of the greatest length fit on a rank.
    """
    samples = run.global_batch // run.ranks
    if largest is None or "static" not in run.modes or samples <= largest:
        return ""
    return (
        f"mode static puts {samples} samples on each rank, but memory is for {largest} of the "
        "greatest length; leave static out or lower global_batch"
    )


def text_inputs(settings: dict[str, Any]) -> list[str]:
    """Files of this machine that a run's text is read from; one that changes makes it anew.

    Of a tokenizer's folder those that are no weights.
    """
    dataset, tokenizer = settings["dataset"], _tokenizer_of(settings)
    files = [*(dataset["data_files"] or []), *(dataset["eval_files"] or [])]
    if tokenizer and tokenizer.endswith((".txt", ".json")):
        return [*files, tokenizer]
    return files + [file for file in files_in(tokenizer) if not file.endswith(WEIGHTS)]


def text_digest(settings: Mapping[str, Any]) -> str:
    """8 hex digits of what decides the tokens of a run's text; runs that share it share the file.

    `settings` are the resolved settings of a run of kind `ddp`. Texts are not cut off in the file,
    so `max_length` is no part of it.
    """
    dataset = identity_of(DdpRun, {"dataset": settings["dataset"]})
    return digest_of(_text_settings(settings) | {"dataset": dataset})


def former_text_digest(settings: Mapping[str, Any]) -> str:
    """Return the digest that version 0.1.0 gave to a text, defaults included."""
    return digest_of(_text_settings(settings))


def _text_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    tokenizer = _tokenizer_of(settings)
    return {
        "dataset": settings["dataset"],
        "tokenizer": tokenizer,
        "vocab": settings["vocab"] if tokenizer is None else None,
        "labels": settings["task"] == "sequence_classification",
        "trust_remote_code": settings["trust_remote_code"],
    }


def _tokenizer_of(settings: Mapping[str, Any]) -> str | None:
    """Name of a run's tokenizer: its own, or that of a model with weights; None is trained."""
    tokenizer = settings["tokenizer"]
    return settings["model"] if tokenizer is None and settings["size"] is None else tokenizer
