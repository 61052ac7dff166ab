"""Models of a master file: its entries, their sequence lengths, their search spaces."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, ValidationInfo, field_validator

from scripts.lib.kinds.inference.matrix.concurrency import geometric
from scripts.lib.schema.base import StrictModel, Text, no_repeats

# Bounds are far beyond any cluster; they keep slips of the keyboard out.
Tokens = Annotated[int, Field(ge=1, le=1 << 24)]
Degree = Annotated[int, Field(ge=1, le=1 << 16)]
DecodeCount = Annotated[int, Field(ge=0, le=1 << 16)]
Concurrency = Annotated[int, Field(ge=1, le=1 << 20)]
ConcurrencyList = Annotated[list[Concurrency], Field(min_length=1), AfterValidator(no_repeats)]
SpecDecoding = Literal["mtp", "draft_model", "none"]


class MasterModel(StrictModel):
    """A part of a master file; its keys are written with hyphens."""

    model_config = ConfigDict(alias_generator=lambda name: name.replace("_", "-"))


class Worker(StrictModel):
    """The prefill or the decode side of a topology over several nodes."""

    num_worker: Degree = Field(description="Workers of this side.")
    tp: Degree = Field(description="Tensor parallelism of a worker.")
    ep: Degree = Field(1, description="Expert parallelism of a worker.")
    dp_attn: bool = Field(False, description="Whether attention is data parallel.")
    additional_settings: list[Text] = Field(
        [], description="Settings `NAME=VALUE` that the launcher gets as they are."
    )


class DecodeWorker(Worker):
    """The decode side; with no workers of its own where prefill's write the answers, too."""

    num_worker: DecodeCount = Field(description="Workers of this side; 0 if prefill's do both.")


class MasterWorker(Worker, MasterModel):
    """A worker as a master file writes it."""


class MasterDecodeWorker(DecodeWorker, MasterModel):
    """A decode side as a master file writes it."""


class SearchItem(MasterModel):
    """Concurrencies of one item of a search space: a geometric range, or a list."""

    spec_decoding: SpecDecoding = Field("none", description="Speculative decoding.")
    conc_start: Concurrency | None = Field(None, description="Smallest concurrency.")
    conc_end: Concurrency | None = Field(None, description="Largest concurrency; always run.")
    conc_list: ConcurrencyList | None = Field(
        None, description="The concurrencies themselves, instead of a range."
    )

    def concurrencies(self, step_size: int) -> list[int]:
        """Concurrencies, of a list in its order; `step_size` (from 2) is the factor of a range."""
        if self.conc_list is not None:
            return self.conc_list
        return geometric(self.conc_start, self.conc_end, step_size)

    # Validators of fields, not of the model: they also run where another field is wrong, so that
    # all problems of an item are reported at once.
    @field_validator("conc_end")
    @classmethod
    def _not_reversed(cls, end: int | None, info: ValidationInfo) -> int | None:
        start = info.data.get("conc_start")
        if start is not None and end is not None and end < start:
            raise ValueError(f"must be at least conc-start ({start}), got {end}")
        return end

    @field_validator("conc_list")
    @classmethod
    def _range_or_list(cls, conc_list: list[int] | None, info: ValidationInfo) -> list[int] | None:
        if not {"conc_start", "conc_end"} <= info.data.keys():
            return conc_list
        given = [info.data["conc_start"] is not None, info.data["conc_end"] is not None]
        if conc_list is not None and any(given):
            raise ValueError("conc-list stands in place of conc-start and conc-end, never beside")
        if conc_list is None and not all(given):
            raise ValueError("conc-start and conc-end are required, or conc-list in their place")
        return conc_list


class SingleNodeItem(SearchItem):
    """A point of the search space on one node."""

    tp: Degree = Field(description="Tensor parallelism.")
    ep: Degree = Field(1, description="Expert parallelism.")
    dp_attn: bool = Field(False, description="Whether attention is data parallel.")


class MultiNodeItem(SearchItem):
    """A topology over several nodes."""

    prefill: MasterWorker = Field(description="Workers that read the prompts.")
    decode: MasterDecodeWorker = Field(description="Workers that write the answers.")


class SeqLenConfig(MasterModel):
    """One pair of sequence lengths and what is searched there on one node."""

    isl: Tokens = Field(description="Input tokens of a request.")
    osl: Tokens = Field(description="Output tokens of a request.")
    search_space: list[SingleNodeItem] = Field(min_length=1)


class MultiNodeSeqLenConfig(SeqLenConfig):
    """One pair of sequence lengths and the topologies over several nodes."""

    search_space: list[MultiNodeItem] = Field(min_length=1)


class Entry(MasterModel):
    """A model served by a framework on one kind of node."""

    image: Text = Field(description="Container image.")
    model: Text = Field(description="Checkpoint, as the framework names it.")
    model_prefix: Text = Field(description="Short name of the model, the start of `exp-name`.")
    precision: Text = Field(description="Precision of the weights, e.g. fp4.")
    framework: Text = Field(description="Serving framework, e.g. vllm.")
    runner: Text = Field(description="Runner type, a key of the runner file.")
    multinode: bool = Field(False, description="Whether the entry spans several nodes.")
    disagg: bool = Field(False, description="Whether prefill and decode run apart.")
    seq_len_configs: list[SeqLenConfig] = Field(min_length=1)

    @field_validator("disagg")
    @classmethod
    def _disagg_spans_nodes(cls, disagg: bool, info: ValidationInfo) -> bool:
        if disagg and info.data.get("multinode") is False:
            raise ValueError("needs multinode: true")
        return disagg


class MultiNodeEntry(Entry):
    """An entry whose search space holds topologies over several nodes."""

    seq_len_configs: list[MultiNodeSeqLenConfig] = Field(min_length=1)

    @field_validator("seq_len_configs")
    @classmethod
    def _apart_takes_both(
        cls, lengths: list[MultiNodeSeqLenConfig], info: ValidationInfo
    ) -> list[MultiNodeSeqLenConfig]:
        decoders = (item.decode.num_worker for one in lengths for item in one.search_space)
        if info.data.get("disagg") and 0 in decoders:
            raise ValueError("disagg: true needs decode workers, got num-worker 0")
        return lengths


def entry_model(data: Any) -> type[Entry]:
    """Model that the entry `data` of a master file has to fit."""
    multinode = isinstance(data, dict) and data.get("multinode") is True
    return MultiNodeEntry if multinode else Entry
