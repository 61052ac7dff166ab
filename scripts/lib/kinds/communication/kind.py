"""The kind `communication`: collectives and point-to-point messages between ranks."""

from scripts.lib.kinds.base import Kind, Settings
from scripts.lib.kinds.communication.config import CommunicationRun, CommunicationSweep
from scripts.lib.kinds.communication.result import MEASUREMENT_VERSION, CommunicationResult
from scripts.lib.presentation.shown import Presentation, Shown

FIRST = (
    "operation", "ranks", "dtype", "backend", "message_bytes", "status", "median_time_us",
    "median_time_ci_low_us", "median_time_ci_high_us", "algorithm_bandwidth_gb_per_s",
    "bus_bandwidth_gb_per_s", "num_wrong", "device_name", "warnings", "reason",
)  # fmt: skip


class Communication(Kind[CommunicationRun, CommunicationResult]):
    """Time, algorithm bandwidth and bus bandwidth over message sizes."""

    name = "communication"
    rule = "benchmark_communication"
    result_file = "communication.json"
    measurement_version = MEASUREMENT_VERSION
    sweep = CommunicationSweep
    run = CommunicationRun
    result = CommunicationResult
    presentation = Presentation(
        name="communication",
        category="Communication",
        package="scripts.lib.kinds.communication",
        tables=(Shown("communication", "Communication", "messages", first=FIRST),),
        figures=(
            Shown("communication_bandwidth", "Bus bandwidth against message size", "bandwidth"),
            Shown("communication_time", "Time against message size", "time"),
        ),
    )

    def devices(self, settings: Settings) -> tuple[str, int]:
        """Return the device behind the backend, and one of it for each rank."""
        gloo = settings["device"] == "auto" and settings["backend"] == "gloo"
        return "cpu" if gloo else settings["device"], settings["ranks"]

    def seed(self, run: CommunicationRun) -> int:
        """Return the seed of data and of the order of sizes."""
        return run.seed
