"""The kind `training`: timed transformer steps."""

from collections.abc import Iterator, Sequence

from scripts.lib.kinds.base import Kind, Settings
from scripts.lib.kinds.training.config import TrainingRun, TrainingSweep
from scripts.lib.kinds.training.probing import TrainingProbing
from scripts.lib.kinds.training.result import MEASUREMENT_VERSION, TrainingResult
from scripts.lib.presentation.shown import Presentation, Shown
from scripts.lib.schema.errors import InputError


def compares_modes(runs: Sequence[Settings]) -> bool:
    """Whether there are runs both with and without a backward pass."""
    return len({run["mode"] == "forward" for run in runs}) == 2


FIRST = (
    "model_size", "context_length", "mode", "batch_size", "precision", "status",
    "median_step_time_ms", "median_step_time_ci_low_ms", "median_step_time_ci_high_ms",
    "tokens_per_s", "mfu", "peak_memory_mib", "device_name", "warnings", "reason",
)  # fmt: skip


class Training(Kind[TrainingRun, TrainingResult]):
    """Forward, backward and optimiser steps of Llama-style decoders."""

    name = "training"
    rule = "benchmark"
    result_file = "benchmark.json"
    measurement_version = MEASUREMENT_VERSION
    sweep = TrainingSweep
    run = TrainingRun
    result = TrainingResult
    probing = TrainingProbing()
    presentation = Presentation(
        name="training",
        category="Training",
        package="scripts.lib.kinds.training",
        tables=(
            Shown("training", "Complete Results", "complete", first=FIRST),
            Shown("training_by_size", "Results by Model Size", "by_size"),
            Shown("training_by_context_length", "Results by Context Length", "by_context_length"),
            Shown("training_pivot", "Median Time (ms): Context Length by Model Size", "pivot"),
            Shown(
                "training_modes",
                "Forward-Only vs Forward+Backward Comparison",
                "modes",
                applies=compares_modes,
            ),
        ),
        figures=(
            Shown("training_time", "Time per step", "time"),
            Shown("training_throughput", "Tokens per second", "throughput"),
            Shown("training_memory", "Peak memory", "memory"),
            Shown("training_utilisation", "FLOPs and their utilisation", "utilisation"),
            Shown("training_breakdown", "Forward, backward, optimiser", "breakdown"),
        ),
    )

    def problems(self, runs: Sequence[Settings]) -> Iterator[str]:
        """Yield a line for each token file that does not fit the runs which name it."""
        longest: dict[tuple[str, int], int] = {}
        for run in runs:
            if path := run["data_path"]:
                key = (path, run["vocab"])
                longest[key] = max(longest.get(key, 0), run["context_length"])
        for (path, vocab), context_length in longest.items():
            from scripts.lib.kinds.training.tokens import check_tokens

            try:
                check_tokens(path, vocab, context_length)
            except InputError as error:
                yield from (f"data_path: {problem}" for problem in error.problems)

    def input_data(self, settings: Settings) -> list[str]:
        """Return the token file: the user's, or the embedded text for the vocabulary."""
        return [settings["data_path"] or f"results/data/tokens-{settings['vocab']}.npy"]

    def seed(self, run: TrainingRun) -> int:
        """Return the seed of weights, data and trial order."""
        return run.seed
