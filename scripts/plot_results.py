"""Draw figures of the summary, as SVG and PNG.

python -m scripts.plot_results --summary results/summary.parquet --output-dir results/figures
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.lib.program import new_parser, run_program


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    parser = new_parser("scripts.plot_results", __doc__)
    parser.add_argument("--summary", required=True, help="summary.parquet")
    parser.add_argument("--output-dir", required=True, help="folder to write the figures to")
    return run_program(parser, _execute, argv)


def _execute(arguments: argparse.Namespace) -> dict[str, Any]:
    from scripts.lib.figures.style import save, use_style
    from scripts.lib.figures.training import FIGURES
    from scripts.lib.results.collecting import read_summary

    use_style()
    summary = read_summary(arguments.summary)
    for name, draw in FIGURES.items():
        save(draw(summary), Path(arguments.output_dir, name))
    return {"figures": list(FIGURES)}


if __name__ == "__main__":
    raise SystemExit(main())
