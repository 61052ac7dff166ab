"""The kind `accuracy`: how accurate a model stays when an efficiency knob is turned."""

from collections.abc import Iterator, Sequence

from scripts.lib.kinds.accuracy.config import AccuracyRun, AccuracySweep
from scripts.lib.kinds.accuracy.measurement import EMBEDDED, AccuracyData
from scripts.lib.kinds.accuracy.probing import AccuracyProbing
from scripts.lib.kinds.accuracy.result import MEASUREMENT_VERSION, AccuracyResult
from scripts.lib.kinds.accuracy.shared import (
    former_importance_digest,
    former_vlm_digest,
    importance_digest,
    vlm_digest,
)
from scripts.lib.kinds.base import Kind, Settings
from scripts.lib.presentation.shown import Presentation, Shown
from scripts.lib.sweeps.checkpoints import files_in


def chooses_by_importance(runs: Sequence[Settings]) -> bool:
    """Whether a run selects its blocks by importance."""
    return any(run["importance"] for run in runs)


def trains_the_embedded_model(runs: Sequence[Settings]) -> bool:
    """Whether a run has the embedded model."""
    return any(run["embedded"] for run in runs)


FIRST = (
    "sweep", "model", "max_crops", "top_k", "num_active_blocks", "block_selection", "status",
    "accuracy", "accuracy_ci_low", "accuracy_ci_high", "difference", "mean_latency_per_sample_ms",
    "flops_per_sample", "peak_memory_mib", "reason",
)  # fmt: skip


class Accuracy(Kind[AccuracyRun, AccuracyResult]):
    """Accuracy on a data set at one setting of the knobs."""

    name = "accuracy"
    rule = "accuracy"
    result_file = "accuracy.json"
    measurement_version = MEASUREMENT_VERSION
    sweep = AccuracySweep
    run = AccuracyRun
    result = AccuracyResult
    probing = AccuracyProbing()
    presentation = Presentation(
        name="accuracy",
        category="Accuracy",
        package="scripts.lib.kinds.accuracy",
        tables=(
            Shown(
                "accuracy", "Accuracy against Efficiency Knobs", "points", reads="view",
                first=FIRST,
            ),
        ),
        figures=(
            Shown("accuracy_knobs", "Accuracy against each knob", "knobs", reads="view"),
            Shown("accuracy_pareto", "Accuracy against FLOPs and latency", "pareto", reads="view"),
            Shown(
                "accuracy_importance", "Importance of the blocks", "importance", reads="view",
                applies=chooses_by_importance,
            ),
            Shown("accuracy_samples", "Images and answers", "samples", reads="view"),
            Shown(
                "accuracy_training", "Training of the embedded model", "training", reads="view",
                applies=trains_the_embedded_model,
            ),
        ),
    )  # fmt: skip

    def problems(self, runs: Sequence[Settings]) -> Iterator[str]:
        """Yield a line for each problem of the questions and the checkpoints."""
        from scripts.lib.kinds.accuracy.files import problems_of, problems_of_model

        data = AccuracyData.model_validate(runs[0]["dataset"])
        yield from (f"dataset.{line}" for line in problems_of(data))
        for model in sorted({run["model"] for run in runs}):
            yield from problems_of_model(model)

    def input_data(self, settings: Settings) -> list[str]:
        """Return what training the embedded model ended with, for runs that have it."""
        if settings["model"] != EMBEDDED:
            return []
        return [f"results/data/vlm-{vlm_digest(settings)}/training.json"]

    def user_files(self, settings: Settings) -> list[str]:
        """Return the files of a model that is a folder, and those of the questions."""
        return [*files_in(settings["model"]), *(settings["dataset"]["data_files"] or [])]

    def former_data(self, former: Settings, settings: Settings) -> Iterator[tuple[str, str]]:
        """Yield the folders of the embedded model and of the importance of blocks."""
        if former["embedded"]:
            yield f"data/vlm-{former_vlm_digest(former)}", f"data/vlm-{vlm_digest(settings)}"
        if former["importance"]:
            old, new = former_importance_digest(former), importance_digest(settings)
            yield f"data/importance-{old}", f"data/importance-{new}"

    def seed(self, run: AccuracyRun) -> int:
        """Return the seed that draws the samples."""
        return run.seed
