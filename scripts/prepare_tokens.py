"""Write the embedded token file: text that every Python carries, byte-level BPE.

python -m scripts.prepare_tokens --vocab 10000 --output tokens.npy
"""

import argparse
from collections.abc import Sequence
from typing import Any

from scripts.lib.runtime.program import new_parser, run_program
from scripts.lib.schema.errors import InputError


def main(argv: Sequence[str] | None = None) -> int:
    """CLI entry point."""
    parser = new_parser("scripts.prepare_tokens", __doc__)
    parser.add_argument("--vocab", type=int, required=True, help="largest number of entries")
    parser.add_argument("--output", required=True, help=".npy file to write")
    return run_program(parser, _execute, argv)


def _execute(arguments: argparse.Namespace) -> dict[str, Any]:
    from scripts.lib.kinds.training.tokens import write_embedded_tokens

    if not 512 <= arguments.vocab <= 1 << 24:
        raise InputError(f"--vocab: must be 512 to {1 << 24}, got {arguments.vocab}")
    return {"tokens": write_embedded_tokens(arguments.output, arguments.vocab)}


if __name__ == "__main__":
    raise SystemExit(main())
