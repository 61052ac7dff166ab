"""Read and tokenise the text of a data-parallel run, once for all runs that share it.

    python -m scripts.prepare_text --run run.json --output results/data/text-1a2b3c4d/meta.json

The ids, places and labels lie beside the output, to be read by memory map.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.lib.kinds.ddp.kind import Ddp
from scripts.lib.runtime.program import new_parser, run_program
from scripts.lib.schema.errors import InputError


def main(argv: Sequence[str] | None = None) -> int:
    """CLI entry point."""
    parser = new_parser("scripts.prepare_text", __doc__)
    parser.add_argument("--run", required=True, help="run.json of a run with this text")
    parser.add_argument("--output", required=True, help="meta.json to write, beside it the text")
    return run_program(parser, _execute, argv)


def _execute(arguments: argparse.Namespace) -> dict[str, Any]:
    from scripts.lib.kinds.ddp.cache import META, write_text_cache

    _, run = Ddp().load_run(arguments.run)
    output = Path(arguments.output)
    if output.name != META:
        raise InputError(f"--output: must be named {META}, got {output.name}")
    return write_text_cache(run, output.parent)


if __name__ == "__main__":
    raise SystemExit(main())
