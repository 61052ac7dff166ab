"""What every program does at its ends: logging, one line for a mistake, one JSON object last."""

import argparse
import ctypes
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from scripts.lib.runtime.session import be_independent
from scripts.lib.schema.errors import InputError

EXIT_INPUT = 2
EXIT_MACHINE = 1


def run_program(
    parser: argparse.ArgumentParser,
    execute: Callable[[argparse.Namespace], dict[str, Any] | None],
    argv: Sequence[str] | None,
) -> int:
    """Parse `argv`, call `execute`, print what it returns, unless None, as the last line on stdout.

    Returns the exit code: 0; 2 after an InputError, 1 after an OSError (a full disk, a file that
    cannot be written), each told on stderr without a traceback; 130 and 143 after an interrupt
    and a termination. Any other exception is a defect of ours and shows its traceback.
    """
    arguments = parser.parse_args(argv)
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S"
    )
    be_independent()
    if "TORCHELASTIC_RUN_ID" in os.environ:  # torchrun killed by force would leave its ranks behind
        end_with_parent()
    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
        summary = execute(arguments)
    except InputError as error:
        print(error, file=sys.stderr)
        return EXIT_INPUT
    except OSError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return EXIT_MACHINE
    except KeyboardInterrupt:
        print(f"{parser.prog}: interrupted", file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGTERM, previous)
    if summary is not None:
        print(json.dumps(summary), flush=True)
    return 0


def end_with_parent() -> None:
    """Let the kernel end this process with the one that started it, however that ends; on Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def new_parser(module: str, description: str | None) -> argparse.ArgumentParser:
    """Parser of the program `python -m MODULE`, described by the module's docstring."""
    return argparse.ArgumentParser(
        prog=f"python -m {module}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_results_options(parser: argparse.ArgumentParser) -> None:
    """Add `--results-dir` and `--sweeps`, which say whose results a program reads."""
    parser.add_argument("--results-dir", required=True, help="folder with the results")
    parser.add_argument(
        "--sweeps",
        nargs="+",
        metavar="NAME:BATCHES",
        help="sweeps to take and their numbers of batches; all batch files found unless given",
    )


def chosen(option: str, names: Sequence[str] | None, known: Iterable[str]) -> list[str]:
    """Return the names given with an option, or all known ones. Raises InputError for others."""
    known = list(known)
    for name in names or ():
        if name not in known:
            raise InputError(f"{option}: unknown {name!r}; allowed: {', '.join(known)}")
    return list(names or known)


def _terminate(number: int, frame: Any) -> None:
    # Unwind, so that temporary files are removed and child processes ended.
    raise SystemExit(128 + number)
