"""Tell how far the sweeps are: per sweep and batch what is expected and what is there.

    python -m scripts.show_status [--config config/config.yaml ...] [--results-dir results]

Counts runs by status; for each that is neither ok nor running: why, and its newest log. `running`
are those at work or queued for a workflow that lives; a table goes to stderr, the counts as JSON to
stdout.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.lib.config import Expansion, Run, expand, load_config
from scripts.lib.kinds.registry import KINDS
from scripts.lib.runtime.program import new_parser, run_program
from scripts.lib.workflow.lock import WORKFLOW_LOCK, holder_of_lock, marked_as_running

if TYPE_CHECKING:
    import pandas as pd


def main(argv: Sequence[str] | None = None) -> int:
    """CLI entry point."""
    parser = new_parser("scripts.show_status", __doc__)
    parser.add_argument("--config", nargs="+", default=[], help="configuration files, merged")
    parser.add_argument("--results-dir", default="results", help="folder with the results")
    return run_program(parser, _execute, argv)


def _execute(arguments: argparse.Namespace) -> dict[str, Any]:
    from scripts.lib.presentation.render import markdown
    from scripts.lib.report.status import status_by_batch, unfinished

    results = Path(arguments.results_dir)
    folder = results.resolve().parent
    expansion = expand(load_config(arguments.config))
    holder = holder_of_lock(folder / WORKFLOW_LOCK)
    runs = _runs(expansion, results, marked_as_running(folder) if holder else set())
    print(markdown(status_by_batch(runs)), file=sys.stderr)
    for line in unfinished(runs, folder / "logs"):
        print(line, file=sys.stderr)
    print(f"workflow: {holder or 'none runs here'}", file=sys.stderr)
    return {"workflow": holder, "status": runs["status"].value_counts().to_dict()}


def _runs(expansion: Expansion, results: Path, marked: set[str]) -> "pd.DataFrame":
    """One row a run and sweep: sweep, batch, run, kind, status, reason."""
    import pandas as pd

    from scripts.lib.summary.collecting import Batch, collect

    parts = []
    for sweep in expansion.sweeps:
        for number, ids in enumerate(expansion.batches(sweep)):
            kind = expansion.runs[ids[0]].kind
            rows = collect([Batch(sweep=sweep, batch=number, kind=kind, runs=ids)], results).runs
            part = rows[["run", "kind", "status", "reason"]].assign(sweep=sweep, batch=number)
            parts.append(part)
    runs = pd.concat(parts, ignore_index=True)
    running = runs["run"].map(lambda run: _is_running(expansion.runs[run], marked))
    own = runs["run"].map(
        lambda run: any(path.startswith(f"results/runs/{run}/") for path in marked)
    )
    # What is made for several runs at once leaves those that have a result alone.
    runs.loc[own | (running & (runs["status"] == "missing")), "status"] = "running"
    return runs


def _is_running(run: Run, marked: set[str]) -> bool:
    """Whether a file of whose making the measurement of a run is part is being made."""
    return not marked.isdisjoint(KINDS[run.kind].made_in(run.id, json.loads(run.settings)))


if __name__ == "__main__":
    raise SystemExit(main())
