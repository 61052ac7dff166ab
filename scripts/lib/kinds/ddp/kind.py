"""The kind `ddp`: data-parallel training with static, dynamic and sorted batches."""

from collections.abc import Iterator, Sequence
from typing import Any

from scripts.lib.kinds.base import Kind, Settings
from scripts.lib.kinds.ddp.config import DdpRun, DdpSweep, TextData, former_text_digest, text_digest
from scripts.lib.kinds.ddp.probing import DdpProbing
from scripts.lib.kinds.ddp.result import MEASUREMENT_VERSION, DdpResult
from scripts.lib.kinds.ddp.upgrades import settings_of_today
from scripts.lib.presentation.shown import Presentation, Shown
from scripts.lib.sweeps.checkpoints import files_in

FIRST = (
    "model", "ranks", "global_batch", "max_length", "mode", "status", "mean_step_time_ms", "gain",
    "gain_ci_low", "gain_ci_high", "padded_gain", "imbalance", "tokens_per_s", "eval_loss",
    "reason",
)  # fmt: skip


class Ddp(Kind[DdpRun, DdpResult]):
    """Data-parallel steps, the modes of a run in turns on its ranks."""

    name = "ddp"
    rule = "benchmark_ddp"
    result_file = "ddp.json"
    measurement_version = MEASUREMENT_VERSION
    sweep = DdpSweep
    run = DdpRun
    result = DdpResult
    probing = DdpProbing()
    presentation = Presentation(
        name="ddp",
        category="Data-parallel training",
        package="scripts.lib.kinds.ddp",
        tables=(Shown("ddp", "Data-Parallel Modes", "modes", first=FIRST),),
        figures=(
            Shown("ddp_step_time", "Time per step", "step_time", reads="results"),
            Shown("ddp_imbalance", "Imbalance over the steps", "imbalance", reads="results"),
            Shown("ddp_padding", "Share of padding", "padding", reads="results"),
            Shown("ddp_loss", "Loss of the modes", "loss", reads="results"),
            Shown("ddp_wait", "Waiting by rank", "wait", reads="results"),
            Shown("ddp_lengths", "Lengths of the samples", "lengths", reads="results"),
        ),
    )

    def problems(self, runs: Sequence[Settings]) -> Iterator[str]:
        """Yield a line for each problem of the text, the tokenizers and the models."""
        from scripts.lib.kinds.ddp.files import missing_names, problems_of

        first = runs[0]
        data = TextData.model_validate(first["dataset"])
        labelled = first["task"] == "sequence_classification"
        yield from (f"dataset.{line}" for line in problems_of(data, labelled))
        for run in runs:
            yield from missing_names(run["tokenizer"], None if run["size"] else run["model"])

    def input_data(self, settings: Settings) -> list[str]:
        """Return the tokenised text."""
        return [f"results/data/text-{text_digest(settings)}/meta.json"]

    def user_files(self, settings: Settings) -> list[str]:
        """Return the files of a model that is a folder of the user's."""
        return [] if settings["size"] else files_in(settings["model"])

    def settings_of_today(self, settings: Settings) -> dict[str, Any]:
        """Return settings with the names of precisions of today."""
        return settings_of_today(dict(settings))

    def former_data(self, former: Settings, settings: Settings) -> Iterator[tuple[str, str]]:
        """Yield the folders of the tokenised text."""
        yield f"data/text-{former_text_digest(former)}", f"data/text-{text_digest(settings)}"

    def searches(self, settings: Settings) -> bool:
        """Whether the largest batch of a rank is asked for."""
        return settings["max_local_batch"] == "auto"

    def seed(self, run: DdpRun) -> int:
        """Return the first of the run's seeds."""
        return run.seed
