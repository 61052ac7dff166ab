"""Measure served models under load: start a server once, send requests, write one result per point.

    python -m scripts.serve_benchmark --run run.json --output inference.json
    python -m scripts.serve_benchmark --run RUN.json ... --server-dir DIR --output DIR/points.json

With `--server-dir` the runs are points of one server: each is kept there as soon as it is measured,
those that are measured already are left alone, and the output lists them all. `--embedded-model
FOLDER` is needed where a run says `model: embedded`; `scripts.prepare_model` writes it. A server
that does not start, requests that fail, a framework that is missing: each is a result with its
status and reason, not an error. An API key for a server that wants one is read from the environment
variable SWEEPMAKE_API_KEY.
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.lib.kinds.inference.config import InferenceRun, server_settings
from scripts.lib.kinds.inference.kind import Inference
from scripts.lib.kinds.inference.result import InferenceResult
from scripts.lib.runtime.program import new_parser, run_program
from scripts.lib.schema.errors import InputError

log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """CLI entry point."""
    parser = new_parser("scripts.serve_benchmark", __doc__)
    parser.add_argument("--run", nargs="+", required=True, help="run.json of each run")
    parser.add_argument("--embedded-model", help="folder of the model `embedded`")
    parser.add_argument(
        "--model-files", nargs="+", default=[], help="measure again what is older than these files"
    )
    parser.add_argument("--server-dir", help="folder of the server whose points the runs are")
    parser.add_argument(
        "--output", required=True, help="result file to write; with --server-dir the list of points"
    )
    return run_program(parser, _execute, argv)


def _execute(arguments: argparse.Namespace) -> dict[str, Any]:
    runs = dict(Inference().load_run(path) for path in arguments.run)
    _check_one_server(runs)
    if arguments.server_dir:
        return _measure_points(runs, arguments)
    if len(runs) > 1:
        raise InputError("--run: several runs need --server-dir, the folder of their server")
    return _measure_one(runs, arguments)


def _measure_one(runs: dict[str, InferenceRun], arguments: argparse.Namespace) -> dict[str, Any]:
    from scripts.lib.kinds.inference import store
    from scripts.lib.kinds.inference.points import measure_points

    output = Path(arguments.output)
    results: list[InferenceResult] = []

    def write(_: str, result: InferenceResult, records: list) -> None:
        store.write_result(output, output.with_name(store.REQUESTS), result, records)
        results.append(result)

    measure_points(runs, arguments.embedded_model, output.parent, write)
    return _summary(results[0])


def _measure_points(runs: dict[str, InferenceRun], arguments: argparse.Namespace) -> dict[str, Any]:
    from scripts.lib.kinds.inference import store
    from scripts.lib.kinds.inference.points import measure_points

    folder = Path(arguments.server_dir)

    def keep(run_id: str, result: InferenceResult, records: list) -> None:
        path = store.measured_path(folder, run_id)
        store.write_result(path, path.with_suffix(".parquet"), result, records)

    with store.hold(folder, next(iter(runs.values())).server.base_url):
        files = arguments.model_files
        left = {i: run for i, run in runs.items() if store.current(folder, i, run, files) is None}
        log.info("%d of %d points of %s to measure", len(left), len(runs), folder.name)
        if left:
            measure_points(left, arguments.embedded_model, folder, keep)
        points = store.write_points(folder, Path(arguments.output))
        return {"points": {run_id: points[run_id]["status"] for run_id in runs}}


def _check_one_server(runs: dict[str, InferenceRun]) -> None:
    servers = [server_settings(run.model_dump()) for run in runs.values()]
    if any(server != servers[0] for server in servers):
        raise InputError("--run: the runs are points of different servers")


def _summary(result: InferenceResult) -> dict[str, Any]:
    summary = {"run": result.run, "status": result.status, "reason": result.reason}
    if result.metrics:
        names = ("output_throughput", "tput_per_gpu", "intvty", "median_ttft_ms", "median_e2el_ms")
        summary |= {name: getattr(result.metrics, name) for name in names}
    return summary


if __name__ == "__main__":
    raise SystemExit(main())
