"""Sweeps of kind `inference`: points of served models, from master files."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from scripts.lib.config.sizes import Size
from scripts.lib.matrix import Filters, full_sweep, load_master
from scripts.lib.matrix.blocks import Point
from scripts.lib.matrix.master import Concurrency, Degree, SpecDecoding, Tokens, Worker
from scripts.lib.matrix.seq_lens import SEQ_LENS
from scripts.lib.schema.base import Axis, StrictModel, Text

SeqLens = Literal[tuple(SEQ_LENS)]


class InferenceSweep(StrictModel):
    """Serve models and measure them under load: what `full-sweep` gives for the same filters.

    A filter that is left out keeps everything; the values of one filter are alternatives.
    """

    kind: Literal["inference"]
    description: str = Field("", description="Said in the report; changes no run.")
    config_files: Axis[Text] = Field(
        description="Master files, in order; paths are relative to the working directory."
    )
    runner_config: Text | None = Field(
        None, description="Runner file; every runner of the master files must be in it."
    )
    seq_lens: Axis[SeqLens] | None = Field(
        None, description="Input and output lengths by name; `1k8k` is 1024 in, 8192 out."
    )
    model_prefix: Axis[Text] | None = Field(None, description="Starts of names of entries.")
    framework: Axis[Text] | None = Field(None, description="Serving frameworks.")
    precision: Axis[Text] | None = Field(None, description="Precisions of the weights.")
    runner_type: Axis[Text] | None = Field(None, description="Runner types; needs `runner_config`.")
    step_size: int = Field(2, ge=2, le=1 << 20, description="Factor between concurrencies.")
    test_mode: bool = Field(
        False,
        description="One point per entry and sequence length: highest tp, lowest concurrency.",
    )
    min_conc: Concurrency | None = Field(None, description="Smallest concurrency that is kept.")
    max_conc: Concurrency | None = Field(None, description="Largest concurrency that is kept.")
    max_tp: Degree | None = Field(None, description="Largest tensor parallelism that is kept.")

    @field_validator("runner_type")
    @classmethod
    def _runner_types_have_a_file(
        cls, runner_type: list[str] | None, info: ValidationInfo
    ) -> list[str] | None:
        if runner_type and info.data.get("runner_config", "") is None:
            raise ValueError("needs runner_config, the file that knows the types")
        return runner_type

    def runs(self, sizes: dict[str, Size]) -> Iterator[dict[str, Any]]:
        """Yield the settings of each point, in the order of the matrix.

        Raises InputError with the master file's own line for each problem in one.
        """
        master = load_master(self.config_files, self.runner_config)
        for block in full_sweep(master, Filters.of(self), self.step_size, self.test_mode):
            for point in block.points():
                yield {"kind": self.kind, **_underscored(point)}

    def notes(self) -> list[str]:
        """Lines about values of filters that no entry has, which others beside them hide."""
        filters = Filters.of(self)
        if not filters.alternatives:
            return []
        master = load_master(self.config_files, self.runner_config)
        everything = full_sweep(master, Filters(), self.step_size)
        return [f"{option} matches no entry" for option in filters.unmatched(everything)]


class InferenceRun(StrictModel):
    """The resolved settings of one run of kind `inference`: all that its programs read.

    A run on one node has `tp`, `ep` and `dp_attn`, and one concurrency. A run over several nodes
    has `prefill`, `decode` and `disagg`, and goes through all its concurrencies.
    """

    slug: ClassVar[dict[str, str]] = {
        "exp_name": "",
        "precision": "",
        "framework": "",
        "runner": "",
        "tp": "tp",
        "ep": "ep",
        "dp_attn": "dpa",
        "prefill.num_worker": "prefill",
        "prefill.tp": "tp",
        "decode.num_worker": "decode",
        "decode.tp": "tp",
        "spec_decoding": "",
        "conc": "conc",
    }

    kind: Literal["inference"] = "inference"
    image: Text
    model: Text
    model_prefix: Text
    precision: Text
    framework: Text
    runner: Text = Field(description="Runner type, or a node of it.")
    isl: Tokens
    osl: Tokens
    tp: Degree | None = None
    ep: Degree | None = None
    dp_attn: bool | None = None
    prefill: Worker | None = None
    decode: Worker | None = None
    disagg: bool | None = None
    spec_decoding: SpecDecoding = "none"
    conc: Concurrency | Annotated[list[Concurrency], Field(min_length=1)]
    max_model_len: int = Field(ge=1, description="Tokens a request may have, in and out.")
    exp_name: Text = Field(description="Name of the experiment; a label.")

    @model_validator(mode="after")
    def _one_node_or_several(self) -> Self:
        one = [self.tp, self.ep, self.dp_attn]
        several = [self.prefill, self.decode, self.disagg]
        used, unused = (several, one) if self.tp is None else (one, several)
        lists = isinstance(self.conc, list)
        if None in used or any(value is not None for value in unused) or lists != (used is several):
            raise ValueError(
                "must have tp, ep, dp_attn and one conc, or prefill, decode, disagg and a list"
            )
        return self


def _underscored(point: Point) -> dict[str, Any]:
    return {
        name.replace("-", "_"): _underscored(value) if isinstance(value, dict) else value
        for name, value in point.items()
    }
