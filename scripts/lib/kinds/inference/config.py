"""Sweeps of kind `inference`: points of served models, from master files."""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from scripts.lib.kinds.inference.frameworks import (
    Launch,
    UnsupportedError,
    compose,
    depends_on_concurrency,
    request_fields,
)
from scripts.lib.kinds.inference.matrix import Filters, Master, full_sweep, load_master
from scripts.lib.kinds.inference.matrix.blocks import Point
from scripts.lib.kinds.inference.matrix.master import (
    Concurrency,
    DecodeWorker,
    Degree,
    Entry,
    SpecDecoding,
    Tokens,
    Worker,
)
from scripts.lib.kinds.inference.matrix.runners import load_runners
from scripts.lib.kinds.inference.matrix.seq_lens import SEQ_LENS
from scripts.lib.schema.base import Axis, Name, StrictModel, Text
from scripts.lib.schema.errors import InputError
from scripts.lib.sweeps.identity import id_of
from scripts.lib.sweeps.run import RunSettings
from scripts.lib.sweeps.sizes import Size
from scripts.lib.sweeps.sweep import Device, SweepBase

SeqLens = Literal[tuple(SEQ_LENS)]


MULTINODE = "servers over several nodes are planned and counted, but not started yet"

# Below a server's folder: the list of its measured points, and the folder of their results.
POINTS = "points.json"
MEASURED = "measured"

# `model` of an entry that serves the small model that the workflow makes itself.
EMBEDDED_MODEL = "embedded"


def _http(url: str) -> str:
    """Check an address; the path `/v1` that clients are often given stands in every request."""
    if {"@", "?", "#"} & set(url):  # not repeated in the message
        raise ValueError("must hold no user, password or query; a key goes into SWEEPMAKE_API_KEY")
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is none
        valid = False
    if not valid or re.search(r"\s", url):
        raise ValueError(f"must be an address such as http://127.0.0.1:8000, got {url!r}")
    return url.rstrip("/").removesuffix("/v1").rstrip("/")


class Load(StrictModel):
    """The load that a server is measured under."""

    prompts_per_conc: int = Field(
        10, ge=1, le=1 << 16, description="Requests of a point, times its concurrency."
    )
    warmups_per_conc: int = Field(
        2, ge=0, le=1 << 16, description="Requests before, not measured, times its concurrency."
    )
    random_range_ratio: float = Field(
        0.8, gt=0, le=1, description="Prompts are drawn between this share of `isl` and `isl`."
    )
    request_rate: float | None = Field(
        None,
        gt=0,
        description="Open loop: requests per second, at random (Poisson) times, with at most the "
        "concurrency in flight. Unset: closed loop, a request as soon as one ends.",
    )
    request_timeout_s: float = Field(600, gt=0, description="Time limit of a request, seconds.")
    stall_timeout_s: float = Field(
        60, gt=0, description="Longest wait for the next part of an answer, seconds."
    )
    seed: int = Field(0, ge=0, le=1 << 32, description="Seed of the prompts and arrivals.")


class ServerOptions(StrictModel):
    """The server of a sweep's points, beside what the master files say."""

    device: Device = "auto"
    base_url: Annotated[Text, AfterValidator(_http)] | None = Field(
        None, description="A server that runs already, e.g. http://host:8000; none is started."
    )
    tokenizer: Text | None = Field(
        None, description="Tokenizer by folder or hub name; the model's own unless given."
    )
    draft_model: Text | None = Field(None, description="Model of `spec-decoding: draft_model`.")
    container: Literal["apptainer"] | None = Field(
        None, description="Runs the server in the entry's `image`; as it is installed unless given."
    )
    start_timeout_s: float = Field(
        1800, gt=0, description="Time limit of the server's start until it is healthy, seconds."
    )

    @model_validator(mode="after")
    def _nothing_to_start(self) -> Self:
        started_with = ("container", "draft_model")
        if self.base_url and (given := [key for key in started_with if getattr(self, key)]):
            raise ValueError(f"{given[0]} is of servers that are started; base_url names one")
        return self


class Server(ServerOptions):
    """The server of a run, resolved."""

    launch: Launch | None = Field(None, description="How it is started; none is with `base_url`.")
    request: dict[str, Any] | None = Field(
        None, description="With `base_url`: fields added to every request; else `launch` has them."
    )
    unsupported: str = Field("", description="Why the framework cannot serve this point.")


class InferenceSweep(SweepBase):
    """Serve models and measure them under load: what `full-sweep` gives for the same filters.

    A filter that is left out keeps everything; the values of one filter are alternatives.
    """

    kind: Literal["inference"]
    config_files: Axis[Text] | None = Field(
        None, description="Master files, in order; paths are relative to the working directory."
    )
    entries: dict[Name, Entry] | None = Field(
        None, description="Entries on one node, written here in place of `config_files`."
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
    load: Load = Field(Load(), description="The load that servers are measured under.")
    server: ServerOptions = Field(ServerOptions(), description="How servers are started.")

    @model_validator(mode="after")
    def _files_or_entries(self) -> Self:
        if (self.config_files is None) == (self.entries is None):
            given = "neither" if self.entries is None else "both"
            raise ValueError(f"needs config_files, or entries in their place; {given} is given")
        return self

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
        load, server = (part.model_dump(exclude_none=True) for part in (self.load, self.server))
        master = self._master()
        for block in full_sweep(master, Filters.of(self), self.step_size, self.test_mode):
            launched = None
            for point in block.points():
                settings = {"kind": self.kind, **_underscored(point)}
                if launched is None or depends_on_concurrency(settings["framework"]):
                    launched = self._launched(settings, master.places[block.entry])
                yield {**settings, "load": load, "server": {**server, **launched}}

    def notes(self) -> list[str]:
        """Lines about values of filters that no entry has, which others beside them hide."""
        filters = Filters.of(self)
        if not filters.alternatives:
            return []
        everything = full_sweep(self._master(), Filters(), self.step_size)
        return [f"{option} matches no entry" for option in filters.unmatched(everything)]

    def _master(self) -> Master:
        if self.entries is None:
            return load_master(self.config_files, self.runner_config)
        places = {name: f"entries.{name}" for name in self.entries}
        return Master(
            dict(self.entries), self.runner_config and load_runners(self.runner_config), places
        )

    def _launched(self, settings: dict[str, Any], place: str) -> dict[str, Any]:
        """Say how a point's server is started, or why it cannot be."""
        if "prefill" in settings:
            return {"unsupported": MULTINODE}
        if self.server.base_url:
            # Not started here, but told the length of the output like one that is.
            request = request_fields(settings["framework"])
            return {"request": request} if request else {}
        try:
            launch = compose(settings, self.server.draft_model, self.server.container)
        except UnsupportedError as error:
            return {"unsupported": str(error)}
        except InputError as error:
            raise InputError(*(f"{place}: {problem}" for problem in error.problems)) from None
        return {"launch": launch.model_dump(exclude_none=True)}


class InferenceRun(RunSettings):
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
    decode: DecodeWorker | None = None
    disagg: bool | None = None
    spec_decoding: SpecDecoding = "none"
    conc: Concurrency | Annotated[list[Concurrency], Field(min_length=1)]
    max_model_len: int = Field(ge=1, description="Tokens a request may have, in and out.")
    exp_name: Text = Field(description="Name of the experiment; a label.")
    load: Load = Load()
    server: Server

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


def server_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that a server is started with: points that share them share a server."""
    return {name: value for name, value in settings.items() if name not in ("conc", "load")}


def server_id(settings: Mapping[str, Any]) -> str:
    """Return the readable name and hash of the server that a run is measured on."""
    return id_of(InferenceRun, server_settings(settings))


def _underscored(point: Point) -> dict[str, Any]:
    return {
        name.replace("-", "_"): _underscored(value) if isinstance(value, dict) else value
        for name, value in point.items()
    }
