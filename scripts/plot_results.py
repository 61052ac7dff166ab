"""Draw figures of the results of all kinds, as SVG and PNG.

    python -m scripts.plot_results --results-dir results --output-dir results/figures

`scripts.aggregate_results` writes the summaries that they are drawn from.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.lib.report.registry import figures
from scripts.lib.runtime.program import add_results_options, chosen, new_parser, run_program


def main(argv: Sequence[str] | None = None) -> int:
    """CLI entry point."""
    parser = new_parser("scripts.plot_results", __doc__)
    add_results_options(parser)
    parser.add_argument("--output-dir", required=True, help="folder to write the figures to")
    parser.add_argument(
        "--figures",
        nargs="+",
        metavar="NAME",
        help=f"of {', '.join(figures())}; unset: all of which there is anything",
    )
    return run_program(parser, _execute, argv)


def _execute(arguments: argparse.Namespace) -> dict[str, Any]:
    from scripts.lib.presentation.style import save, use_style
    from scripts.lib.report.source import Source

    use_style()
    source = Source(arguments.results_dir, arguments.sweeps)
    names = chosen("--figures", arguments.figures, figures())
    if not arguments.figures:
        names = [name for name in names if source.has(figures()[name][0])]
    for name in names:
        presentation, shown = figures()[name]
        figure = presentation.figure(shown)(source.of(presentation, shown))
        save(figure, Path(arguments.output_dir, name))
    return {"figures": names}


if __name__ == "__main__":
    raise SystemExit(main())
