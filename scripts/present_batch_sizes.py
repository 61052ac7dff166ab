"""Make the table and the figure of the searches for the largest batch.

    python -m scripts.present_batch_sizes --results-dir results --output-dir results

Reads `batch_size.json` of the runs of the batch files; runs with a fixed batch size have none.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.lib.program import add_results_options, new_parser, run_program


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    parser = new_parser("scripts.present_batch_sizes", __doc__)
    add_results_options(parser)
    parser.add_argument(
        "--output-dir", required=True, help="folder whose tables/ and figures/ are written to"
    )
    return run_program(parser, _execute, argv)


def _execute(arguments: argparse.Namespace) -> dict[str, Any]:
    from scripts.lib.figures.batch_size import probed_memory
    from scripts.lib.figures.style import save, use_style
    from scripts.lib.results.batch_size import BatchSizeResult
    from scripts.lib.results.collecting import batch_files, read_batch
    from scripts.lib.results.files import write_text
    from scripts.lib.results.reading import read_result
    from scripts.lib.tables.batch_size import TITLE, batch_sizes
    from scripts.lib.tables.render import html, markdown

    files = batch_files(Path(arguments.results_dir), arguments.sweeps)
    runs = dict.fromkeys(run for path in files for run in read_batch(path).runs)
    paths = [Path(arguments.results_dir, "runs", run, "batch_size.json") for run in runs]
    results = [read_result(path, BatchSizeResult) for path in paths if path.exists()]
    table = batch_sizes(results)
    stem = Path(arguments.output_dir, "tables/batch_size")
    write_text(f"{stem}.md", f"## {TITLE}\n\n{markdown(table)}\n")
    write_text(f"{stem}.html", html(table, TITLE))
    use_style()
    save(probed_memory(results), Path(arguments.output_dir, "figures/batch_size"))
    return {"searches": len(results)}


if __name__ == "__main__":
    raise SystemExit(main())
