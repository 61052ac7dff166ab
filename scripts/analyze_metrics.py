"""Compare run directories that `scripts.train_ddp` wrote: a table, figures, the gain.

    python -m scripts.analyze_metrics --run_dir outputs/A --compare_dir outputs/B

`comparison.csv` and the figures go to `--output_dir`, or into `figures` of the first run directory.
Runs that were made one after the other also differ by the drift of the machine; `train_ddp --run`
lets the modes take turns.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.lib.runtime.program import new_parser, run_program


def main(argv: Sequence[str] | None = None) -> int:
    """CLI entry point."""
    parser = new_parser("scripts.analyze_metrics", __doc__)
    parser.add_argument("--run_dir", required=True, help="run directory, mostly of static")
    parser.add_argument("--compare_dir", nargs="+", default=[], help="others, of other modes")
    parser.add_argument("--output_dir", help="folder to write to")
    return run_program(parser, _execute, argv)


def _execute(arguments: argparse.Namespace) -> dict[str, Any]:
    from scripts.lib.kinds.ddp.directories import metrics_of
    from scripts.lib.kinds.ddp.figures import draw
    from scripts.lib.kinds.ddp.records import write_csv
    from scripts.lib.kinds.ddp.tables import FIGURES

    result = metrics_of([arguments.run_dir, *arguments.compare_dir])
    folder = Path(arguments.output_dir or Path(arguments.run_dir, "figures"))
    rows = []
    for mode in result.settings.modes:
        metrics = result.metrics.mode(mode)
        rows.append({name: getattr(metrics, name) for name in ("mode", *FIGURES)})
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "comparison.csv", rows)
    draw([result], folder)
    shown = ("mean_step_time_ms", "gain", "gain_ci_low", "gain_ci_high", "padding_share")
    return {
        "figures": str(folder),
        **{row["mode"]: {name: row[name] for name in shown} for row in rows},
    }


if __name__ == "__main__":
    raise SystemExit(main())
