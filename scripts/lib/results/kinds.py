"""Which result belongs to which kind of run."""

from pathlib import PurePath

from scripts.lib.results import accuracy, ddp, inference, training
from scripts.lib.results.accuracy import AccuracyResult
from scripts.lib.results.ddp import DdpResult
from scripts.lib.results.inference import InferenceResult
from scripts.lib.results.result import Result
from scripts.lib.results.training import TrainingResult

# A new kind of measurement adds a line to each.
RESULT_MODELS: dict[str, type[Result]] = {
    "training": TrainingResult,
    "inference": InferenceResult,
    "ddp": DdpResult,
    "accuracy": AccuracyResult,
}
MEASUREMENT_VERSIONS = {
    "training": training.MEASUREMENT_VERSION,
    "inference": inference.MEASUREMENT_VERSION,
    "ddp": ddp.MEASUREMENT_VERSION,
    "accuracy": accuracy.MEASUREMENT_VERSION,
}
RESULT_FILES: dict[str, str] = {
    "training": "benchmark.json",
    "inference": "benchmark.json",
    "ddp": "ddp.json",
    "accuracy": "accuracy.json",
}


def result_path(results_dir: str | PurePath, run: str, kind: str) -> str:
    """Path of a run's result file below the folder of results."""
    return str(PurePath(results_dir, "runs", run, RESULT_FILES[kind]))
