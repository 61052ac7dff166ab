"""Draw figures of the summary, as SVG and PNG.

python -m scripts.plot_results --summary results/summary.parquet --output-dir results/figures
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.lib.program import new_parser, run_program
from scripts.lib.schema.errors import InputError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    parser = new_parser("scripts.plot_results", __doc__)
    parser.add_argument("--summary", required=True, help="summary.parquet")
    parser.add_argument("--output-dir", required=True, help="folder to write the figures to")
    parser.add_argument(
        "--figures", nargs="+", metavar="NAME", help="figures to draw; all by default"
    )
    return run_program(parser, _execute, argv)


def _execute(arguments: argparse.Namespace) -> dict[str, Any]:
    from scripts.lib.figures.registry import FIGURES
    from scripts.lib.figures.style import save, use_style
    from scripts.lib.results.collecting import read_summary

    use_style()
    names = arguments.figures or list(FIGURES)
    if unknown := [name for name in names if name not in FIGURES]:
        raise InputError(f"--figures: unknown {unknown[0]!r}; allowed: {', '.join(FIGURES)}")
    summary = read_summary(arguments.summary)
    for name in names:
        save(FIGURES[name](summary), Path(arguments.output_dir, name))
    return {"figures": names}


if __name__ == "__main__":
    raise SystemExit(main())
