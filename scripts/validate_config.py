"""Check configuration files and tell what they expand to, without running anything.

python -m scripts.validate_config config/config.yaml
python -m scripts.validate_config --sizes
"""

import argparse
from collections.abc import Sequence
from typing import Any

from scripts.lib.config import expand, load_config
from scripts.lib.config.loading import with_places
from scripts.lib.runtime.program import new_parser, run_program
from scripts.lib.schema.errors import InputError
from scripts.lib.schema.yaml_file import load_yaml
from scripts.lib.sweeps.sizes import SIZES, count_parameters
from scripts.lib.workflow.inputs import check_inputs

VOCAB = 10_000


def main(argv: Sequence[str] | None = None) -> int:
    """CLI entry point."""
    parser = new_parser("scripts.validate_config", __doc__)
    parser.add_argument("files", nargs="*", help="configuration files, merged in this order")
    parser.add_argument(
        "--sizes", action="store_true", help=f"print parameters of each size at vocab {VOCAB}"
    )
    return run_program(parser, _execute, argv)


def _execute(arguments: argparse.Namespace) -> dict[str, Any]:
    if arguments.sizes:
        return {
            name: count_parameters(VOCAB, size["d_model"], size["d_ff"], size["num_layers"])
            for name, size in load_yaml(SIZES).data.items()
        }
    try:
        expansion = expand(load_config(arguments.files))
        check_inputs(expansion)
    except InputError as error:
        raise with_places(error, arguments.files) from None
    sweeps = {name: len(runs) for name, runs in expansion.sweeps.items()}
    return {"runs": len(expansion.runs), "sweeps": sweeps}


if __name__ == "__main__":
    raise SystemExit(main())
