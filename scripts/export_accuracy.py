"""Write `accuracy_results.json` of each accuracy sweep: summary, all samples, configuration.

    python -m scripts.export_accuracy --results-dir results --output-dir results/accuracy

The form is that of the profiling guide that preceded sweepmake. The first run of a sweep is its
reference.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.lib.runtime.program import add_results_options, new_parser, run_program
from scripts.lib.schema.errors import InputError


def main(argv: Sequence[str] | None = None) -> int:
    """CLI entry point."""
    parser = new_parser("scripts.export_accuracy", __doc__)
    add_results_options(parser)
    parser.add_argument("--output-dir", required=True, help="folder for {sweep}/ of each sweep")
    return run_program(parser, _execute, argv)


def _execute(arguments: argparse.Namespace) -> dict[str, Any]:
    from scripts.lib.kinds.accuracy.comparison import compare
    from scripts.lib.kinds.accuracy.document import document
    from scripts.lib.report.source import Source
    from scripts.lib.results.files import write_text

    sweeps = Source(arguments.results_dir, arguments.sweeps).by_sweep("accuracy")
    if not sweeps:
        raise InputError(f"--results-dir {arguments.results_dir}: has no batch of kind accuracy")
    for sweep, results in sweeps.items():
        content = json.dumps(document(compare(sweep, results)), indent=1) + "\n"
        write_text(Path(arguments.output_dir, sweep, "accuracy_results.json"), content)
    return {"sweeps": {sweep: len(results) for sweep, results in sweeps.items()}}


if __name__ == "__main__":
    raise SystemExit(main())
