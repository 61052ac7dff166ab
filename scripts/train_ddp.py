"""Train on several ranks with static, dynamic or sorted batches, and record every step.

    torchrun --nproc_per_node=2 -m scripts.train_ddp --mode sorted --steps 100 --global_batch 32
    torchrun --nproc_per_node=2 -m -- scripts.train_ddp --run run.json --output_dir results

By hand a call trains one mode and writes the run directory `OUTPUT_DIR/RUN_ID` with `config.yaml`,
`metrics/rank*.csv`, `merged_metrics.csv`, `summary.csv` and `figures`, and its path to
`OUTPUT_DIR/last_run_MODE.txt`. With `--run` and no `--mode` the modes and seeds of the run take
turns, and each has its run directory `OUTPUT_DIR/MODE/seedN`. `--resume` continues a run directory.
"""

import argparse
import hashlib
import logging
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from scripts.lib.config import load_run
from scripts.lib.config.ddp import (
    EMBEDDED,
    FILE_FORMATS,
    DdpRun,
    text_digest,
    text_inputs,
    without_room,
)
from scripts.lib.config.loading import SIZES
from scripts.lib.ddp.directories import differences, read_directory
from scripts.lib.ddp.files import missing_names
from scripts.lib.ddp.launch import leave_word
from scripts.lib.ddp.processes import RankLost, check_meeting, is_lost, joined, pin_to_core, placed
from scripts.lib.devices.slots import resolve_device
from scripts.lib.program import new_parser, run_program
from scripts.lib.results.files import write_text
from scripts.lib.schema.errors import InputError
from scripts.lib.schema.problems import describe, dotted
from scripts.lib.schema.yaml_file import load_yaml

if TYPE_CHECKING:
    from scripts.lib.results.batch_size import BatchSizeResult

log = logging.getLogger(__name__)


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
# How long another rank leaves it to the first to name a fault of the input.
FIRST_SAYS_SECONDS = 15
# What a failing rank leaves for the program that started it.
FAILURE = "failure-rank{}.json"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    parser = new_parser("scripts.train_ddp", __doc__)
    parser.add_argument("--mode", help="static, dynamic or sorted")
    parser.add_argument("--dataset", help="embedded, csv, json, parquet, sst2 or a hub name")
    parser.add_argument("--data_files", nargs="+", help="files of csv, json, parquet")
    parser.add_argument("--eval_files", nargs="+", help="files to evaluate on")
    parser.add_argument("--seed", type=int, help="seed of weights, order and schedule")
    parser.add_argument("--run", help="run.json whose settings are taken; options go above it")
    parser.add_argument("--resume", metavar="DIR", help="run directory to continue")
    parser.add_argument("--output_dir", default="outputs", help="folder of run directories")
    parser.add_argument("--text", metavar="DIR", help="folder of the tokenised text")
    parser.add_argument("--batch_size", help="batch_size.json, for max_local_batch: auto")
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
    return run_program(parser, _execute, argv)


def _execute(arguments: argparse.Namespace) -> dict[str, Any] | None:
    rank = placed("RANK")
    if rank:
        logging.getLogger().setLevel(logging.WARNING)
    try:
        return _on_rank(arguments, rank)
    except InputError as error:
        if rank:  # every rank finds the same; the first says it, and its end ends the others
            time.sleep(FIRST_SAYS_SECONDS)
        raise InputError(*map(_by_option, error.problems)) from None


def _on_rank(arguments: argparse.Namespace, rank: int) -> dict[str, Any] | None:
    from scripts.lib.ddp.scheduler import ScheduleError

    run = _settings(arguments)
    max_tokens = _max_tokens(arguments, run)
    check_meeting(arguments.init_method)
    kind = resolve_device(run.device, placed("LOCAL_WORLD_SIZE"))
    if kind == "cpu":
        pin_to_core()
    with joined(kind, arguments.init_method) as device:
        folder = Path(_agree(_folder(arguments, run) if rank == 0 else None))
        try:
            told = _train(arguments, run, folder, device, max_tokens)
        except Exception as error:
            if rank == 0 and _by_hand(arguments):
                with suppress(OSError):  # what has begun stays
                    folder.rmdir()
            if is_lost(error):
                told = " ".join(str(error).split())[:200]
                error = RankLost(
                    f"rank {rank}: another rank is gone; its own output says why ({told})"
                )
            if not _by_hand(arguments):
                _leave_word(folder, rank, error)
            if isinstance(error, ScheduleError):
                error = InputError(str(error))
            raise error from None
    return None if rank else told


def _by_option(problem: str) -> str:
    """Name the option where a line begins with the key of a setting."""
    found = re.match(r"(?:--)?((?:dataset\.)?\w+)(?:\.\d+)?(?=:| \S+: )", problem)
    name = found and RENAMED.get(found[1], found[1].removeprefix("dataset."))
    if name not in OPTIONS:
        return problem
    return f"--{name}{problem[found.end() :]}"


def _train(
    arguments: argparse.Namespace, run: DdpRun, folder: Path, device: Any, max_tokens: int | None
) -> dict[str, Any]:
    import torch.distributed as dist

    from scripts.lib.ddp.cache import open_text
    from scripts.lib.ddp.engine import Job, train

    text = open_text(_prepared(arguments, run))
    flat = _by_hand(arguments)
    job = Job(
        run, text, device, folder,
        lambda mode, seed: folder if flat else folder / mode / f"seed{seed}", max_tokens,
        resumed=arguments.resume is not None,
    )  # fmt: skip
    if arguments.check_gradients:
        return {"gradient_error": _check_gradients(job)}
    train(job)
    if flat and dist.get_rank() == 0:
        if not arguments.no_figures:
            from scripts.lib.ddp.directories import metrics_of
            from scripts.lib.figures.ddp import draw

            draw([metrics_of([folder])], folder / "figures")
        write_text(folder.parent / f"last_run_{run.modes[0]}.txt", f"{folder}\n")
    return {"run_dir": str(folder)}


def _check_gradients(job: Any) -> dict[str, float]:
    from scripts.lib.ddp.gradients import LIMIT, gradient_error
    from scripts.lib.ddp.streams import Stream

    lengths = job.text.train.lengths(job.run.max_length)
    errors = {}
    for mode in job.run.modes:
        plan = Stream(mode, job.run, lengths, job.run.seed, job.cost, job.max_tokens).next()
        errors[mode] = gradient_error(job.run, job.text, job.device, job.run.seed, plan)
    log.info("relative error of the averaged gradient: %s", errors)
    if max(errors.values()) > LIMIT:
        raise RuntimeError(f"the averaged gradient is wrong: relative errors {errors}")
    return errors


def _settings(arguments: argparse.Namespace) -> DdpRun:
    """Settings of the run: of `--run` or `--resume`, with the options above them."""
    settings: dict[str, Any] = {}
    if arguments.resume:
        settings = dict(_resumable(arguments))
    elif arguments.run:
        run = load_run(arguments.run)[1]
        if not isinstance(run, DdpRun):
            raise InputError(f"{arguments.run}: is of kind {run.kind}, not ddp")
        settings = run.model_dump()
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
    if arguments.batch_size:
        if settings.get("max_local_batch") not in (None, "auto"):
            raise InputError("--batch_size: not together with a number as max_local_batch")
        settings["max_local_batch"] = "auto"
    few_steps = settings.get("steps", 50) <= settings.get("warmup_steps", 5)
    if _by_hand(arguments) and few_steps and arguments.warmup_steps is None:
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
    if _by_hand(arguments) and len(run.seeds) > 1:
        told = ", ".join(map(str, run.seeds))
        raise InputError(f"--seed: required with --mode, because the run has the seeds {told}")
    return run


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


def _max_tokens(arguments: argparse.Namespace, run: DdpRun) -> int | None:
    """Padded tokens that a rank may hold, where anything limits them."""
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
        key, largest = "max_tokens", limit // run.max_length if _by_hand(arguments) else None
    elif run.max_local_batch == "auto":
        found = _probed(arguments)
        key, largest, limit = "batch_size", found.size_in_use, found.padded_tokens(run.max_length)
    else:
        key, largest = "max_local_batch", run.max_local_batch
        limit = largest and largest * run.max_length
    if reason := without_room(run, largest):
        raise InputError(f"{key}: {reason}")
    return limit


def _probed(arguments: argparse.Namespace) -> "BatchSizeResult":
    """Read the finished search that the command line names."""
    from scripts.lib.results.batch_size import BatchSizeResult
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


def _by_hand(arguments: argparse.Namespace) -> bool:
    """Whether one mode is trained into a run directory of its own."""
    return arguments.run is None or arguments.mode is not None


def _folder(arguments: argparse.Namespace, run: DdpRun) -> str:
    if arguments.resume:
        return str(Path(arguments.resume).absolute())
    output = Path(arguments.output_dir).absolute()
    if not _by_hand(arguments) or arguments.check_gradients:
        return str(output)
    stem = f"{time.strftime('%Y%m%d-%H%M%S')}-{run.modes[0]}-seed{run.seed}"
    for name in (stem, *(f"{stem}-{i}" for i in range(2, 1000))):
        # Made at once: another call of the same second must not take it, too.
        with suppress(FileExistsError):
            (output / name).mkdir(parents=True)
            return str(output / name)
    raise InputError(f"--output_dir: {output}: too many runs in this second")


def _prepared(arguments: argparse.Namespace, run: DdpRun) -> Path:
    """Folder of the tokenised text; rank 0 writes it where it is missing, the others wait."""
    import torch.distributed as dist

    if arguments.text:
        return Path(arguments.text)
    folder, problems = None, ()
    if dist.get_rank() == 0:
        from scripts.lib.ddp.cache import META, write_text_cache

        base = Path(run.dataset.dataset_dir or Path(arguments.output_dir, "data"))
        folder = base / f"text-{text_digest(run.model_dump())}{_stamp(run)}"
        try:
            if not (folder / META).exists():
                log.info("tokenising %s into %s", run.dataset.path, folder)
                write_text_cache(run, folder)
        except InputError as error:
            problems = error.problems
    folder, problems = _agree([str(folder), problems])
    if problems:
        raise InputError(*problems)
    return Path(folder)


def _stamp(run: DdpRun) -> str:
    """Changes with the files of the text, so that an older cache is not taken for theirs."""
    told = []
    for file in text_inputs(run.model_dump()):
        with suppress(OSError):
            state = Path(file).stat()
            told.append(f"{file} {state.st_size} {state.st_mtime_ns}")
    return "-" + hashlib.sha256("\n".join(told).encode()).hexdigest()[:8] if told else ""


def _agree(value: Any) -> Any:
    """Return what rank 0 gives, on every rank."""
    import torch.distributed as dist

    box = [value]
    dist.broadcast_object_list(box, src=0, device="cpu")
    return box[0]


def _leave_word(folder: Path, rank: int, error: Exception) -> None:
    """Write why this rank failed, for the program that started it.

    `of_all` says that the reason is no rank's own.
    """
    from scripts.lib.ddp.engine import Diverged
    from scripts.lib.ddp.scheduler import ScheduleError
    from scripts.lib.training.memory import is_out_of_memory

    status = "oom" if is_out_of_memory(error) or isinstance(error, ScheduleError) else "failed"
    if isinstance(error, InputError):
        status = "input"
    text = " ".join(f"{type(error).__name__}: {error}".split())[:500]
    of_all = isinstance(error, InputError | ScheduleError | Diverged)
    leave_word(
        folder / FAILURE.format(rank), rank, status, str(error) if of_all else text,
        lost=isinstance(error, RankLost), of_all=of_all,
    )  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
