"""Measure the accuracy of a model at one setting of its efficiency knobs, and what it costs there.

    python -m scripts.accuracy --run run.json --batch-size batch_size.json --output accuracy.json

`--checkpoint` is the folder of the embedded model and needed where the run has it, `--importance`
where blocks are chosen by importance. Finished batches are kept in `--lines` until the result is
written, so that an interrupted call continues, with any number of ranks. The run's `ranks` are
started here; under torchrun its ranks share the samples instead. A knob that the model lacks, or a
sample that memory has no room for, is a row with its status and reason, not an error. Under
torchrun a rank that fails or runs out of memory writes that row and ends with an error, at which
torchrun ends the others.
"""

import argparse
import os
from collections.abc import Sequence
from typing import Any

from scripts.lib.kinds.accuracy.driver import Call, answer_share, measure_run
from scripts.lib.runtime.program import new_parser, run_program


def main(argv: Sequence[str] | None = None) -> int:
    """CLI entry point."""
    parser = new_parser("scripts.accuracy", __doc__)
    parser.add_argument("--run", required=True, help="run.json of the run")
    parser.add_argument("--batch-size", help="a number, or batch_size.json of the run")
    parser.add_argument("--checkpoint", help="folder of the embedded model, or its training.json")
    parser.add_argument("--importance", help="importance.json of the model")
    parser.add_argument("--lines", help="folder of finished batches; `accuracy` beside the output")
    parser.add_argument("--output", required=True, help="result file to write")
    parser.add_argument(
        "--share-only", metavar="DEVICE", help="as a rank that was started here: answer its share"
    )
    return run_program(parser, _execute, argv)


def _execute(arguments: argparse.Namespace) -> dict[str, Any]:
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    options = vars(arguments)
    device = options.pop("share_only")
    call = Call(**options)
    return answer_share(call, device) if device else measure_run(call)


if __name__ == "__main__":
    raise SystemExit(main())
