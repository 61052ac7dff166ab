"""Measure how much accuracy each decoder block of a model is worth: leave out one at a time.

    python -m scripts.measure_importance --run run.json --output importance.json

`--checkpoint` is the folder of the embedded model, where the run has it.
"""

import argparse
import logging
import os
from collections.abc import Sequence
from typing import Any

from scripts.lib.devices.slots import claim
from scripts.lib.kinds.accuracy.checkpoint import checkpoint_of
from scripts.lib.kinds.accuracy.settings import read_settings
from scripts.lib.results.files import write_text
from scripts.lib.runtime.program import new_parser, run_program
from scripts.lib.schema.errors import InputError

log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """CLI entry point."""
    parser = new_parser("scripts.measure_importance", __doc__)
    parser.add_argument("--run", help="run.json of a run that rests on it")
    parser.add_argument("--settings", help="JSON text of its settings that matter, in its place")
    parser.add_argument("--checkpoint", help="folder of the embedded model, or its training.json")
    parser.add_argument("--output", required=True, help="importance.json to write")
    return run_program(parser, _execute, argv)


def _execute(arguments: argparse.Namespace) -> dict[str, Any]:
    run = read_settings(arguments.run, arguments.settings)
    if run.importance is None:
        raise InputError(f"{arguments.run}: selects no blocks by importance")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    checkpoint = checkpoint_of(run, arguments.checkpoint)
    with claim(run.device) as held:
        from scripts.lib.kinds.accuracy.points import measure_importance
        from scripts.lib.runtime.outcomes import Unsupported
        from scripts.lib.runtime.torch_device import torch_device

        try:
            found = measure_importance(run, checkpoint, torch_device(held))
        except Unsupported as error:  # no ranking, so nothing that a row could say
            raise InputError(str(error)) from None
    write_text(arguments.output, found.model_dump_json(indent=1) + "\n")
    log.info("blocks by importance: %s", found.ranking)
    return found.model_dump()


if __name__ == "__main__":
    raise SystemExit(main())
