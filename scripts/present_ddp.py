"""Draw the figures of data-parallel runs, as SVG and PNG.

    python -m scripts.present_ddp --results-dir results --output-dir results/figures

Reads `ddp.json` of the runs of the batch files: the figures show single steps, which the summary
has not.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.lib.program import add_results_options, new_parser, run_program


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    parser = new_parser("scripts.present_ddp", __doc__)
    add_results_options(parser)
    parser.add_argument("--output-dir", required=True, help="folder to write the figures to")
    return run_program(parser, _execute, argv)


def _execute(arguments: argparse.Namespace) -> dict[str, Any]:
    from scripts.lib.figures.ddp import draw
    from scripts.lib.results.collecting import batch_files, read_batch
    from scripts.lib.results.ddp import DdpResult
    from scripts.lib.results.kinds import result_path
    from scripts.lib.results.reading import read_result

    folder = Path(arguments.results_dir)
    batches = [read_batch(path) for path in batch_files(folder, arguments.sweeps)]
    runs = dict.fromkeys(run for batch in batches if batch.kind == "ddp" for run in batch.runs)
    results = [read_result(result_path(folder, run, "ddp"), DdpResult) for run in runs]
    return {"runs": len(results), "figures": draw(results, arguments.output_dir)}


if __name__ == "__main__":
    raise SystemExit(main())
