"""Print the points of an inference sweep: what its master files, filters and batches amount to.

    python -m scripts.generate_sweep_configs full-sweep --config-files nvidia.yaml --seq-lens 1k1k
    python -m scripts.generate_sweep_configs full-sweep --config-files nvidia.yaml --count

Exit code 0 with the result on stdout; 2 with one line for each problem on stderr.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from scripts.lib.kinds.inference.matrix import (
    Filters,
    Matrix,
    full_sweep,
    load_master,
    runner_model_sweep,
    single_config,
)
from scripts.lib.kinds.inference.matrix.blocks import Block
from scripts.lib.kinds.inference.matrix.counts import count_rows
from scripts.lib.kinds.inference.matrix.formats import aligned, json_text, jsonl_text, table_text
from scripts.lib.kinds.inference.matrix.github import MAX_ENTRIES, github_text
from scripts.lib.kinds.inference.matrix.seq_lens import SEQ_LENS
from scripts.lib.schema.collector import paused_collector
from scripts.lib.schema.errors import InputError
from scripts.lib.sweeps.batches import batch_count, batch_slice

FORMATS = {"json": json_text, "jsonl": jsonl_text, "table": table_text}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv`; return the exit code."""
    try:
        print(_result(_parser().parse_args(argv)))
    except InputError as error:
        print(*error.problems, sep="\n", file=sys.stderr)
        return 2
    return 0


@paused_collector()
def _result(arguments: argparse.Namespace) -> str:
    found = arguments.find(arguments)
    matrix = Matrix.of(found)
    if not matrix.blocks:
        raise InputError(f"nothing is left by: {_repeated(arguments)}")
    if matrix.duplicates:
        noun = "duplicate" if matrix.duplicates == 1 else "duplicates"
        print(
            f"removed {matrix.duplicates} {noun} (all settings the same as another entry's)",
            file=sys.stderr,
        )
    total, size = len(matrix), arguments.max_batch_size
    if arguments.get_batch_count:
        return str(batch_count(total, size))
    if arguments.count:
        return aligned(count_rows(found, size))
    index = arguments.batch_index
    points = matrix.points(slice(None) if index is None else batch_slice(index, total, size))
    if arguments.format == "github":
        return github_text(points, matrix)
    return FORMATS[arguments.format](points)


def _full_sweep(arguments: argparse.Namespace) -> list[Block]:
    if arguments.runner_type and arguments.runner_config is None:
        raise InputError("--runner-type needs --runner-config")
    master = load_master(arguments.config_files, arguments.runner_config)
    filters = Filters.of(arguments)
    found = full_sweep(master, filters, arguments.step_size, arguments.test_mode)
    if found and filters.alternatives:
        everything = full_sweep(master, Filters(), arguments.step_size)
        for option in filters.unmatched(everything):
            print(f"note: {option} matches no entry", file=sys.stderr)
    return found


def _test_config(arguments: argparse.Namespace) -> list[Block]:
    return single_config(
        load_master(arguments.config_files, arguments.runner_config),
        arguments.key,
        arguments.runner_node,
        Filters.of(arguments),
        arguments.step_size,
        arguments.test_mode,
    )


def _runner_model_sweep(arguments: argparse.Namespace) -> list[Block]:
    master = load_master(arguments.config_files, arguments.runner_config)
    return runner_model_sweep(master, arguments.runner_type)


def _repeated(arguments: argparse.Namespace) -> str:
    """Write the options that chose the entries, as they were given."""
    if arguments.find is _runner_model_sweep:
        return f"--runner-type {arguments.runner_type}"
    key = f"--key {arguments.key} " if arguments.find is _test_config else ""
    return f"{key}{Filters.of(arguments)}".strip()


class _Parser(argparse.ArgumentParser):
    """A parser that reports a wrong command line as any other bad input: one line."""

    def error(self, message: str) -> NoReturn:
        """Refuse the command line."""
        raise InputError(" ".join(message.split()))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m scripts.generate_sweep_configs",
        description=(__doc__ or "").split("\n", 1)[0],
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    full = _command(commands, "full-sweep", _full_sweep, "all entries, filtered")
    _add_filters(full)
    _add_expansion(full)

    single = _command(commands, "test-config", _test_config, "one entry")
    single.add_argument("--key", required=True, help="name of the entry")
    single.add_argument("--runner-node", help="node that replaces the entry's runner type")
    _add_expansion(single)

    nodes = _command(
        commands,
        "runner-model-sweep",
        _runner_model_sweep,
        "every configuration of a runner type on every node of it",
    )
    nodes.add_argument("--runner-type", required=True, help="key of the runner file")
    return parser


def _command(
    commands: "argparse._SubParsersAction[_Parser]",
    name: str,
    find: Callable[[argparse.Namespace], list[Block]],
    purpose: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=purpose, description=purpose, allow_abbrev=False)
    parser.set_defaults(find=find)
    parser.add_argument("--config-files", nargs="+", required=True, metavar="FILE")
    parser.add_argument(
        "--runner-config", metavar="FILE", help="runner file; every runner must be in it"
    )
    parser.add_argument(
        "--max-batch-size", type=_at_least(1), default=MAX_ENTRIES, metavar="N", help="default 256"
    )
    parser.add_argument("--batch-index", type=int, metavar="K", help="print this batch, from 0")
    parser.add_argument("--get-batch-count", action="store_true", help="print their number only")
    parser.add_argument("--count", action="store_true", help="print entries per filter value only")
    parser.add_argument("--format", choices=[*FORMATS, "github"], default="json")
    return parser


def _add_filters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model-prefix", nargs="+", metavar="P", help="starts of entry names")
    parser.add_argument("--precision", nargs="+", metavar="P", help="e.g. fp4 fp8")
    parser.add_argument("--framework", nargs="+", metavar="F", help="e.g. vllm")
    parser.add_argument("--runner-type", nargs="+", metavar="R", help="needs --runner-config")
    parser.add_argument("--min-conc", type=_at_least(1), metavar="N", help="inclusive")
    parser.add_argument("--max-conc", type=_at_least(1), metavar="N", help="inclusive")
    parser.add_argument("--max-tp", type=_at_least(1), metavar="N", help="inclusive")


def _add_expansion(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seq-lens", nargs="+", choices=list(SEQ_LENS), help="input, output")
    parser.add_argument(
        "--step-size", type=_at_least(2), default=2, metavar="N", help="factor; default 2"
    )
    parser.add_argument("--test-mode", action="store_true", help="smallest useful part")


def _at_least(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"must be a whole number from {least}, got {text!r}")
        return value

    return number


if __name__ == "__main__":
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, e.g. `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)
