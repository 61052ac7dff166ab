"""Train the embedded vision-language model of an accuracy run on handwritten digits.

    python -m scripts.train_embedded_vlm --run run.json --output vlm/training.json

Takes some minutes of one core. The checkpoint, in transformers' format, and the curve
`training.csv` lie beside the output.
"""

import argparse
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.lib.kinds.accuracy.settings import read_settings
from scripts.lib.runtime.program import new_parser, run_program
from scripts.lib.schema.errors import InputError

log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """CLI entry point."""
    parser = new_parser("scripts.train_embedded_vlm", __doc__)
    parser.add_argument("--run", help="run.json of a run with this model")
    parser.add_argument("--settings", help="JSON text with `embedded`, in place of a run")
    parser.add_argument(
        "--output", required=True, help="training.json to write, beside it the rest"
    )
    return run_program(parser, _execute, argv)


def _execute(arguments: argparse.Namespace) -> dict[str, Any]:
    run = read_settings(arguments.run, arguments.settings)
    if run.embedded is None:
        raise InputError(f"{arguments.run}: has no embedded model, but {run.model}")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    from scripts.lib.kinds.accuracy.embedded import TRAINING, train

    output = Path(arguments.output)
    if output.name != TRAINING:
        raise InputError(f"--output: must be named {TRAINING}, got {output.name}")
    found = train(run.embedded, output.parent)
    log.info(
        "digit accuracy %.3f, with one crop %.3f, after %.0f s of processor time",
        found["digit_accuracy"], found["digit_accuracy_one_crop"], found["cpu_seconds"],
    )  # fmt: skip
    return {name: value for name, value in found.items() if name != "settings"}


if __name__ == "__main__":
    raise SystemExit(main())
