"""How accuracy is measured: questions, metric, the embedded model, the importance of blocks."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from scripts.lib.schema.base import StrictModel, Text, problem_at, refuse_given

EMBEDDED = "embedded"
# Samples among which a probe looks for the longest prompt, at most.
LOOKED_AT = 128
FILE_FORMATS = ("csv", "json", "parquet", "imagefolder")
_OF_COLUMNS = ("image_column", "question_column", "answer_column", "choices_column", "prompt")
_OF_HUB = ("name", "split")
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
        unused = {EMBEDDED: _OF_COLUMNS + _OF_HUB} | dict.fromkeys(FILE_FORMATS, _OF_HUB)
        refuse_given(self, unused.get(self.path, ()), f"with path: {self.path}")
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
