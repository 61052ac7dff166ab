"""The kind `inference`: served models under load."""

from pathlib import Path, PurePath

from scripts.lib.kinds.base import Kind, Settings
from scripts.lib.kinds.inference.config import (
    EMBEDDED_MODEL,
    MEASURED,
    POINTS,
    InferenceRun,
    InferenceSweep,
    server_id,
)
from scripts.lib.kinds.inference.result import MEASUREMENT_VERSION, InferenceResult
from scripts.lib.presentation.shown import Presentation, Shown
from scripts.lib.sweeps.checkpoints import files_in


class Inference(Kind[InferenceRun, InferenceResult]):
    """Points of served models, each a server's settings and a concurrency."""

    name = "inference"
    rule = "serve_benchmark"
    result_file = "inference.json"
    former_result_file = "benchmark.json"
    measurement_version = MEASUREMENT_VERSION
    sweep = InferenceSweep
    run = InferenceRun
    result = InferenceResult
    presentation = Presentation(
        name="inference",
        category="Inference",
        package="scripts.lib.kinds.inference",
        tables=(Shown("inference", "Served Models", "served"),),
        figures=(
            Shown("inference_interactivity", "Throughput against interactivity", "interactivity"),
            Shown("inference_latency", "Throughput against latency", "latency"),
        ),
    )

    def input_data(self, settings: Settings) -> list[str]:
        """Return the small model that the workflow makes, for a run that names it."""
        embedded = settings["model"] == EMBEDDED_MODEL
        return ["results/data/embedded-model"] if embedded else []

    def user_files(self, settings: Settings) -> list[str]:
        """Return the files of a model that is a folder of the user's."""
        return files_in(settings["model"])

    def devices(self, settings: Settings) -> tuple[str, int]:
        """Return the server's device and its tensor parallelism; a CPU where none is started."""
        server = settings["server"]
        if "launch" not in server:
            return "cpu", 1
        return server.get("device", "auto"), settings["tp"]

    def made_in(self, run: str, settings: Settings) -> list[str]:
        """Return the result, and the list of points of its server."""
        return [*super().made_in(run, settings), f"results/servers/{server_id(settings)}/{POINTS}"]

    def forget(self, results_dir: PurePath, run: str, settings: Settings) -> None:
        """Remove the measured point from its server's folder."""
        folder = Path(results_dir, "servers", server_id(settings), MEASURED)
        for suffix in ("json", "parquet"):
            (folder / f"{run}.{suffix}").unlink(missing_ok=True)

    def adopt(self, results_dir: PurePath, run: str, settings: Settings) -> None:
        """Keep a result taken over in its server's folder, as if the server had measured it."""
        from scripts.lib.kinds.inference.store import adopt

        adopt(
            Path(results_dir, "servers", server_id(settings)), run, Path(results_dir, "runs", run)
        )

    def seed(self, run: InferenceRun) -> int:
        """Return the seed of prompts and arrivals."""
        return run.load.seed
