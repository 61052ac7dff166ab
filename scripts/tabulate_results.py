"""Make tables of the summary, as Markdown and as HTML pages that can be sorted.

python -m scripts.tabulate_results --summary results/summary.parquet --output-dir results/tables
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.lib.program import new_parser, run_program
from scripts.lib.schema.errors import InputError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    parser = new_parser("scripts.tabulate_results", __doc__)
    parser.add_argument("--summary", required=True, help="summary.parquet")
    parser.add_argument("--output-dir", required=True, help="folder to write the tables to")
    parser.add_argument(
        "--tables", nargs="+", metavar="NAME", help="tables to make; all by default"
    )
    return run_program(parser, _execute, argv)


def _execute(arguments: argparse.Namespace) -> dict[str, Any]:
    from scripts.lib.results.collecting import read_summary
    from scripts.lib.results.files import write_text
    from scripts.lib.tables.registry import TABLES
    from scripts.lib.tables.render import html, markdown

    summary = read_summary(arguments.summary)
    names = arguments.tables or list(TABLES)
    if unknown := [name for name in names if name not in TABLES]:
        raise InputError(f"--tables: unknown {unknown[0]!r}; allowed: {', '.join(TABLES)}")
    for name in names:
        title, function = TABLES[name]
        frame = function(summary)
        stem = Path(arguments.output_dir, name)
        write_text(f"{stem}.md", f"## {title}\n\n{markdown(frame)}\n")
        write_text(f"{stem}.html", html(frame, title))
    return {"tables": names}


if __name__ == "__main__":
    raise SystemExit(main())
