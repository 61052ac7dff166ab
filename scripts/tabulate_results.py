"""Write tables of the results of all kinds, as Markdown and as HTML pages that can be sorted.

    python -m scripts.tabulate_results --results-dir results --output-dir results/tables

`scripts.aggregate_results` writes the summaries that they are made of.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.lib.report.registry import tables
from scripts.lib.runtime.program import add_results_options, chosen, new_parser, run_program


def main(argv: Sequence[str] | None = None) -> int:
    """CLI entry point."""
    parser = new_parser("scripts.tabulate_results", __doc__)
    add_results_options(parser)
    parser.add_argument("--output-dir", required=True, help="folder to write the tables to")
    parser.add_argument(
        "--tables",
        nargs="+",
        metavar="NAME",
        help=f"of {', '.join(tables())}; unset: all of which there is anything",
    )
    return run_program(parser, _execute, argv)


def _execute(arguments: argparse.Namespace) -> dict[str, Any]:
    from scripts.lib.presentation.render import html, markdown
    from scripts.lib.report.source import Source
    from scripts.lib.results.files import write_text

    source = Source(arguments.results_dir, arguments.sweeps)
    names = chosen("--tables", arguments.tables, tables())
    if not arguments.tables:
        names = [name for name in names if source.has(tables()[name][0])]
    for name in names:
        presentation, shown = tables()[name]
        frame = presentation.table(shown)(source.of(presentation, shown))
        stem = Path(arguments.output_dir, name)
        write_text(f"{stem}.md", f"## {shown.title}\n\n{markdown(frame)}\n")
        write_text(f"{stem}.html", html(frame, shown.title, shown.first))
    return {"tables": names}


if __name__ == "__main__":
    raise SystemExit(main())
