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
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from scripts.lib.devices.slots import resolve_device
from scripts.lib.kinds.ddp.config import DdpRun, text_digest, text_inputs
from scripts.lib.kinds.ddp.options import (
    add_options,
    by_hand,
    by_option,
    max_tokens_of,
    settings_of,
)
from scripts.lib.results.files import write_text
from scripts.lib.runtime.launch import FAILURE_FILE, write_failure
from scripts.lib.runtime.processes import (
    RankLost,
    check_meeting,
    is_lost,
    joined,
    pin_to_core,
    placed,
)
from scripts.lib.runtime.program import new_parser, run_program
from scripts.lib.schema.errors import InputError

log = logging.getLogger(__name__)
# How long another rank leaves it to the first to name a fault of the input.
FIRST_SAYS_SECONDS = 15


def main(argv: Sequence[str] | None = None) -> int:
    """CLI entry point."""
    parser = new_parser("scripts.train_ddp", __doc__)
    add_options(parser)
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
        raise InputError(*map(by_option, error.problems)) from None


def _on_rank(arguments: argparse.Namespace, rank: int) -> dict[str, Any] | None:
    from scripts.lib.kinds.ddp.scheduler import ScheduleError

    run = settings_of(arguments)
    max_tokens = max_tokens_of(arguments, run)
    check_meeting(arguments.init_method, "scripts.train_ddp")
    kind = resolve_device(run.device, placed("LOCAL_WORLD_SIZE"))
    if kind == "cpu":
        pin_to_core()
    with joined(kind, arguments.init_method) as device:
        folder = Path(_agree(_folder(arguments, run) if rank == 0 else None))
        try:
            told = _train(arguments, run, folder, device, max_tokens)
        except Exception as error:
            if rank == 0 and by_hand(arguments):
                with suppress(OSError):  # what has begun stays
                    folder.rmdir()
            if is_lost(error):
                told = " ".join(str(error).split())[:200]
                error = RankLost(
                    f"rank {rank}: another rank is gone; its own output says why ({told})"
                )
            if not by_hand(arguments):
                _leave_word(folder, rank, error)
            if isinstance(error, ScheduleError):
                error = InputError(str(error))
            raise error from None
    return None if rank else told


def _train(
    arguments: argparse.Namespace, run: DdpRun, folder: Path, device: Any, max_tokens: int | None
) -> dict[str, Any]:
    import torch.distributed as dist

    from scripts.lib.kinds.ddp.cache import open_text
    from scripts.lib.kinds.ddp.engine import Job, train

    text = open_text(_prepared(arguments, run))
    flat = by_hand(arguments)
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
            from scripts.lib.kinds.ddp.directories import metrics_of
            from scripts.lib.kinds.ddp.figures import draw

            draw([metrics_of([folder])], folder / "figures")
        write_text(folder.parent / f"last_run_{run.modes[0]}.txt", f"{folder}\n")
    return {"run_dir": str(folder)}


def _check_gradients(job: Any) -> dict[str, float]:
    from scripts.lib.kinds.ddp.gradients import LIMIT, gradient_error
    from scripts.lib.kinds.ddp.streams import Stream

    lengths = job.text.train.lengths(job.run.max_length)
    errors = {}
    for mode in job.run.modes:
        plan = Stream(mode, job.run, lengths, job.run.seed, job.cost, job.max_tokens).next()
        errors[mode] = gradient_error(job.run, job.text, job.device, job.run.seed, plan)
    log.info("relative error of the averaged gradient: %s", errors)
    if max(errors.values()) > LIMIT:
        raise RuntimeError(f"the averaged gradient is wrong: relative errors {errors}")
    return errors


def _folder(arguments: argparse.Namespace, run: DdpRun) -> str:
    if arguments.resume:
        return str(Path(arguments.resume).absolute())
    output = Path(arguments.output_dir).absolute()
    if not by_hand(arguments) or arguments.check_gradients:
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
        from scripts.lib.kinds.ddp.cache import META, write_text_cache

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
    from scripts.lib.kinds.ddp.engine import Diverged
    from scripts.lib.kinds.ddp.scheduler import ScheduleError
    from scripts.lib.runtime.memory import is_out_of_memory

    status = "oom" if is_out_of_memory(error) or isinstance(error, ScheduleError) else "failed"
    if isinstance(error, InputError):
        status = "input"
    text = " ".join(f"{type(error).__name__}: {error}".split())[:500]
    of_all = isinstance(error, InputError | ScheduleError | Diverged)
    write_failure(
        folder / FAILURE_FILE.format(rank), rank, status, str(error) if of_all else text,
        lost=isinstance(error, RankLost), of_all=of_all,
    )  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
