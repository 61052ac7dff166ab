"""The result of an inference run: `benchmark.json`."""

from typing import Literal

from scripts.lib.config.inference import InferenceRun
from scripts.lib.results.result import Result

MEASUREMENT_VERSION = 1

# Servers are not started yet: such runs are planned, batched and counted, with this answer.
NOT_MEASURED = "inference runs are planned and counted, but this version starts no server"


class InferenceResult(Result):
    """Row of one inference run."""

    kind: Literal["inference"] = "inference"
    settings: InferenceRun
    metrics: None = None
