"""Settings of a data-parallel run from the command line of `scripts.train_ddp`.

They come from `--run` or from the directory of `--resume`, with the options above them.
"""

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from scripts.lib.kinds.ddp.config import EMBEDDED, FILE_FORMATS, DdpRun, without_room
from scripts.lib.kinds.ddp.directories import differences, read_directory
from scripts.lib.kinds.ddp.files import missing_names
from scripts.lib.kinds.ddp.kind import Ddp
from scripts.lib.runtime.processes import placed
from scripts.lib.schema.errors import InputError
from scripts.lib.schema.problems import describe, dotted
from scripts.lib.schema.yaml_file import load_yaml
from scripts.lib.sweeps.sizes import SIZES

if TYPE_CHECKING:
    from scripts.lib.batch_size.result import BatchSizeResult


def _number_or_auto(text: str) -> int | str:
    return text if text == "auto" else int(text)


# Options that are settings of a run by the same name.
SETTINGS = {
    "global_batch": int, "max_length": int, "buffer_size": int, "cost_type": str,
    "precision": str, "steps": int, "warmup_steps": int, "block_steps": int, "model": str,
    "task": str, "tokenizer": str, "vocab": int, "accumulation": int, "learning_rate": float,
    "dropout": float, "max_local_batch": _number_or_auto, "checkpoint_steps": int, "device": str,
}  # fmt: skip
DATASET = {
    "dataset_dir": str, "text_column": str, "label_column": str, "split": str, "eval_split": str,
    "name": str, "eval_share": float, "num_labels": int,
}  # fmt: skip
# Settings that are options by another name.
RENAMED = {"modes": "mode", "seeds": "seed", "dataset.path": "dataset"}
HUB_NAMES = {"sst2": {"path": "stanfordnlp/sst2", "eval_split": "validation"}}
OPTIONS = {
    "mode", "seed", "dataset", "data_files", "eval_files", "run", "resume", "max_tokens",
    "init_method", "trust_remote_code", "batch_size", *SETTINGS, *DATASET,
}  # fmt: skip


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of which settings are made."""
    parser.add_argument("--mode", help="static, dynamic or sorted")
    parser.add_argument("--dataset", help="embedded, csv, json, parquet, sst2 or a hub name")
    parser.add_argument("--data_files", nargs="+", help="files of csv, json, parquet")
    parser.add_argument("--eval_files", nargs="+", help="files to evaluate on")
    parser.add_argument("--seed", type=int, help="seed of weights, order and schedule")
    parser.add_argument("--run", help="run.json whose settings are taken; options go above it")
    parser.add_argument("--resume", metavar="DIR", help="run directory to continue")
    parser.add_argument("--output_dir", default="outputs", help="folder of run directories")
    parser.add_argument("--text", metavar="DIR", help="folder of the tokenised text")
    parser.add_argument(
        "--batch_size", help="for max_local_batch: a number, or batch_size.json for auto"
    )
    parser.add_argument("--max_tokens", type=int, help="padded tokens that a rank can hold")
    parser.add_argument("--trust_remote_code", action="store_true", default=None)
    parser.add_argument("--no_figures", action="store_true", help="draw no figures at the end")
    parser.add_argument("--init_method", default="env://", help="how the ranks meet")
    parser.add_argument(
        "--check-gradients", "--check_gradients", action="store_true",
        help="compare the gradient of the first step with a single process's, and train nothing",
    )  # fmt: skip
    for name, kind in SETTINGS.items():
        parser.add_argument(f"--{name}", type=kind)
    for name, kind in DATASET.items():
        parser.add_argument(f"--{name}", type=kind)


def settings_of(arguments: argparse.Namespace) -> DdpRun:
    """Settings of the run: of `--run` or `--resume`, with the options above them.

    Raises InputError with a line for each that cannot be.
    """
    settings: dict[str, Any] = {}
    if arguments.resume:
        settings = dict(_resumable(arguments))
    elif arguments.run:
        settings = Ddp().load_run(arguments.run)[1].model_dump()
    stored = dict(settings)
    ranks = placed("WORLD_SIZE")
    if "ranks" in settings and settings["ranks"] != ranks:
        raise InputError(f"ranks: the run is for {settings['ranks']}, but {ranks} were started")
    settings["ranks"] = ranks
    given = {name: getattr(arguments, name) for name in SETTINGS}
    settings |= {name: value for name, value in given.items() if value is not None}
    if arguments.mode:
        settings["modes"] = [arguments.mode]
    elif not settings.get("modes"):
        raise InputError("--mode: required without --run; allowed: static, dynamic, sorted")
    if arguments.seed is not None:
        settings["seeds"] = [arguments.seed]
    if arguments.trust_remote_code:
        settings["trust_remote_code"] = True
    settings["dataset"] = _dataset(arguments, settings.get("dataset", {}))
    if arguments.batch_size and arguments.batch_size.isdigit():
        settings["max_local_batch"] = int(arguments.batch_size)
    elif arguments.batch_size:
        if settings.get("max_local_batch") not in (None, "auto"):
            raise InputError("--batch_size: not together with a number as max_local_batch")
        settings["max_local_batch"] = "auto"
    few_steps = settings.get("steps", 50) <= settings.get("warmup_steps", 5)
    if by_hand(arguments) and few_steps and arguments.warmup_steps is None:
        settings["warmup_steps"] = 0
    if "size" not in settings or arguments.model:
        model = settings.setdefault("model", "tiny")
        sizes = load_yaml(SIZES).data
        settings["size"] = sizes.get(model)
        if model not in sizes and "/" not in model:
            allowed = ", ".join(sizes)
            raise InputError(f"--model: unknown {model!r}; allowed: {allowed}, a folder (./NAME)"
                             " or a model on the hub (ORGANISATION/NAME)")  # fmt: skip
    if arguments.resume:
        for key, own, other in differences(stored, settings):
            raise InputError(
                f"{key}: is {other}, but {own} in "
                f"{arguments.resume}/config.yaml; a run is continued with its own settings"
            )
    try:
        run = DdpRun.model_validate(settings)
    except ValidationError as error:
        problems = describe(error, DdpRun, settings)
        raise InputError(*(f"{dotted(keys)}: {text}" for keys, text in problems)) from None
    if problems := missing_names(run.tokenizer, None if run.size else run.model):
        raise InputError(*problems)
    if by_hand(arguments) and len(run.seeds) > 1:
        told = ", ".join(map(str, run.seeds))
        raise InputError(f"--seed: required with --mode, because the run has the seeds {told}")
    return run


def max_tokens_of(arguments: argparse.Namespace, run: DdpRun) -> int | None:
    """Padded tokens that a rank may hold, where anything limits them; else None.

    Raises InputError where the limit is none, or leaves mode static no room.
    """
    limit = arguments.max_tokens
    if limit is not None and limit < 1:
        raise InputError(f"max_tokens: must be 1 or more, got {limit}")
    if arguments.resume:
        stored = read_directory(arguments.resume).max_tokens
        if limit not in (None, stored):
            raise InputError(
                f"max_tokens: is {limit}, but {stored} in {arguments.resume}/config.yaml; "
                "a run is continued with its own settings"
            )
        return stored
    if limit is not None:
        # The program that started the ranks of a run has looked at how long its text is.
        key, largest = "max_tokens", limit // run.max_length if by_hand(arguments) else None
    elif run.max_local_batch == "auto":
        found = _probed(arguments)
        key, largest, limit = "batch_size", found.size_in_use, found.padded_tokens(run.max_length)
    else:
        key, largest = "max_local_batch", run.max_local_batch
        limit = largest and largest * run.max_length
    if reason := without_room(run, largest):
        raise InputError(f"{key}: {reason}")
    return limit


def by_option(problem: str) -> str:
    """Name the option where a line begins with the key of a setting."""
    found = re.match(r"(?:--)?((?:dataset\.)?\w+)(?:\.\d+)?(?=:| \S+: )", problem)
    name = found and RENAMED.get(found[1], found[1].removeprefix("dataset."))
    if name not in OPTIONS:
        return problem
    return f"--{name}{problem[found.end() :]}"


def by_hand(arguments: argparse.Namespace) -> bool:
    """Whether one mode is trained into a run directory of its own."""
    return arguments.run is None or arguments.mode is not None


def _resumable(arguments: argparse.Namespace) -> dict[str, Any]:
    """Settings of the run directory that is to be continued."""
    folder = arguments.resume
    if arguments.run:
        raise InputError("run: not together with --resume, which has the settings of its directory")
    found = read_directory(folder)
    told = (found.settings.get("modes"), found.settings.get("seeds"))
    if told != ([found.mode], [found.seed]):
        raise InputError(
            f"resume: {folder} belongs to a run of several modes or seeds; call that run again"
        )
    if Path(folder, "summary.csv").exists():
        raise InputError(f"resume: {folder} is finished: it has a summary.csv")
    return found.settings


def _probed(arguments: argparse.Namespace) -> "BatchSizeResult":
    """Read the finished search that the command line names."""
    from scripts.lib.batch_size.result import BatchSizeResult
    from scripts.lib.results.reading import read_result

    if arguments.batch_size is None:
        raise InputError(
            "max_local_batch: auto needs --batch_size FILE, which scripts.find_batch_size writes; "
            "or give a number"
        )
    found = read_result(arguments.batch_size, BatchSizeResult)
    if found.status != "ok":
        raise InputError(f"--batch_size: {arguments.batch_size}: {found.status}: {found.reason}")
    return found


def _dataset(arguments: argparse.Namespace, below: dict[str, Any]) -> dict[str, Any]:
    data = dict(below)
    if arguments.dataset:
        data |= HUB_NAMES.get(arguments.dataset, {"path": arguments.dataset})
    for name in ("data_files", "eval_files", *DATASET):
        if getattr(arguments, name) is not None:
            data[name] = getattr(arguments, name)
    local = data.get("path", EMBEDDED) in FILE_FORMATS
    for name in ("data_files", "eval_files") if local else ():
        # A run directory is resumed from anywhere.
        if data.get(name):
            data[name] = [str(Path(file).absolute()) for file in data[name]]
    return data
