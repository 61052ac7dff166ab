"""Compare the points of accuracy sweeps: table, figures, and a file a sweep with every answer.

    python -m scripts.present_accuracy --results-dir results --output-dir results

Reads `accuracy.json` of the runs of the batch files. The first run of a sweep is its reference.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.lib.program import add_results_options, new_parser, run_program
from scripts.lib.schema.errors import InputError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    parser = new_parser("scripts.present_accuracy", __doc__)
    add_results_options(parser)
    parser.add_argument("--training", nargs="+", default=[], help="training.csv of embedded models")
    parser.add_argument("--importance", nargs="+", default=[], help="importance.json files")
    parser.add_argument("--output-dir", required=True, help="folder of tables, figures, accuracy")
    return run_program(parser, _execute, argv)


def _execute(arguments: argparse.Namespace) -> dict[str, Any]:
    from scripts.lib.accuracy.comparison import compare
    from scripts.lib.accuracy.document import document
    from scripts.lib.figures.accuracy import Drawn, draw, read_curve
    from scripts.lib.results.accuracy import AccuracyResult, ImportanceResult
    from scripts.lib.results.collecting import batch_files, read_batch
    from scripts.lib.results.files import write_text
    from scripts.lib.results.kinds import result_path
    from scripts.lib.results.reading import read_result
    from scripts.lib.tables.accuracy import TITLE, points
    from scripts.lib.tables.render import html, markdown

    source, output = Path(arguments.results_dir), Path(arguments.output_dir)
    sweeps: dict[str, list[str]] = {}
    for path in batch_files(source, arguments.sweeps):
        batch = read_batch(path)
        if batch.kind == "accuracy":
            sweeps.setdefault(batch.sweep, []).extend(batch.runs)
    if not sweeps:
        raise InputError(f"--results-dir {source}: has no batch of kind accuracy")
    compared = []
    for sweep, runs in sweeps.items():
        results = [
            read_result(result_path(source, run, "accuracy"), AccuracyResult) for run in runs
        ]
        found = compare(sweep, results)
        told = json.dumps(document(found), indent=1) + "\n"
        write_text(output / "accuracy" / sweep / "accuracy_results.json", told)
        compared += found
    frame = points(compared)
    write_text(output / "tables/accuracy.md", f"## {TITLE}\n\n{markdown(frame)}\n")
    write_text(output / "tables/accuracy.html", html(frame, TITLE))
    importances = [
        ImportanceResult.model_validate_json(Path(path).read_bytes())
        for path in arguments.importance
    ]
    curves = [read_curve(path) for path in arguments.training]
    figures = draw(Drawn(compared, importances, curves), output / "figures")
    return {"points": len(compared), "sweeps": list(sweeps), "figures": figures}


if __name__ == "__main__":
    raise SystemExit(main())
