"""Measure a served model under load: start its server, send requests, write one result a point.

    python -m scripts.serve_benchmark --run run.json --output inference.json

`--embedded-model FOLDER` is needed where the run says `model: embedded`; `scripts.prepare_model`
writes it. A server that does not start, requests that fail, a framework that is not there: each is
a result with its status and reason, not an error. An API key for a server that wants one is read
from the environment variable SWEEPMAKE_API_KEY.
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.lib.kinds.inference.config import InferenceRun
from scripts.lib.kinds.inference.kind import Inference
from scripts.lib.kinds.inference.result import InferenceResult
from scripts.lib.runtime.program import new_parser, run_program

log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    parser = new_parser("scripts.serve_benchmark", __doc__)
    parser.add_argument("--run", required=True, help="run.json of the run")
    add_serving_options(parser)
    parser.add_argument("--output", required=True, help="result file to write")
    return run_program(parser, _execute, argv)


def add_serving_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that only runs of kind `inference` have."""
    parser.add_argument("--embedded-model", help="folder of the model `embedded`")
    parser.add_argument(
        "--server-dir",
        help="folder of the run's server: its points that are wanted are measured, too, and "
        "fetched from there by their own jobs",
    )


def serve_run(run_id: str, run: InferenceRun, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure a run, or fetch it where it was measured with another; returns a summary."""
    from scripts.lib.kinds.inference import store
    from scripts.lib.kinds.inference.points import measure_points

    output = Path(arguments.output)
    if arguments.server_dir is None:
        requests = output.with_name(store.REQUESTS)
        results: list[InferenceResult] = []

        def write(_: str, result: InferenceResult, records: list) -> None:
            store.write_result(output, requests, result, records)
            results.append(result)

        measure_points({run_id: run}, arguments.embedded_model, output.parent, write)
        return _summary(results[0])

    folder = Path(arguments.server_dir)
    measured = folder / "measured"

    def keep(done: str, result: InferenceResult, records: list) -> None:
        store.write_result(measured / f"{done}.json", measured / f"{done}.parquet", result, records)

    with store.hold(folder, run.server.base_url):
        result = store.fetch(folder, run_id, run, output)
        if result is None:
            runs = {run_id: run} | store.wanted(folder, output.parents[1])
            log.info("%d points of %s", len(runs), folder.name)
            measure_points(runs, arguments.embedded_model, folder, keep)
            result = store.fetch(folder, run_id, run, output)
        else:
            log.info("measured together with another point of %s", folder.name)
    return _summary(result)


def _execute(arguments: argparse.Namespace) -> dict[str, Any]:
    run_id, run = Inference().load_run(arguments.run)
    return serve_run(run_id, run, arguments)


def _summary(result: InferenceResult) -> dict[str, Any]:
    summary = {"run": result.run, "status": result.status, "reason": result.reason}
    if result.metrics:
        names = ("output_throughput", "tput_per_gpu", "intvty", "median_ttft_ms", "median_e2el_ms")
        summary |= {name: getattr(result.metrics, name) for name in names}
    return summary


if __name__ == "__main__":
    raise SystemExit(main())
