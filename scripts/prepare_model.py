"""Write the embedded model that servers serve where an entry says `model: embedded`.

python -m scripts.prepare_model --output results/data/embedded-model
"""

import argparse
from collections.abc import Sequence
from typing import Any

from scripts.lib.runtime.program import new_parser, run_program


def main(argv: Sequence[str] | None = None) -> int:
    """CLI entry point."""
    parser = new_parser("scripts.prepare_model", __doc__)
    parser.add_argument("--output", required=True, help="folder to write")
    return run_program(parser, _execute, argv)


def _execute(arguments: argparse.Namespace) -> dict[str, Any]:
    from scripts.lib.kinds.inference.model import write_model

    return {"parameters": write_model(arguments.output)}


if __name__ == "__main__":
    raise SystemExit(main())
