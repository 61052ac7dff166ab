"""How the largest batch of an accuracy run is probed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from scripts.lib.batch_size.probing import Probing
from scripts.lib.kinds.accuracy.config import AccuracyRun
from scripts.lib.kinds.accuracy.measurement import EMBEDDED, LOOKED_AT
from scripts.lib.schema.errors import InputError
from scripts.lib.sweeps.run import BatchSizeRequest

FAMILY = (
    "model", "embedded", "dataset", "max_new_tokens", "precision", "experts_implementation",
)  # fmt: skip
NEAR = ("top_k", "num_active_blocks", "block_selection")


class AccuracyProbing(Probing[AccuracyRun]):
    """Probe an accuracy run with a batch of its longest prompt, answered to the last token."""

    preload = (
        "scripts.lib.kinds.accuracy.workload",
        "sklearn.datasets",
        "transformers.models.auto.modeling_auto",
        "transformers.models.got_ocr2.image_processing_pil_got_ocr2",
        "transformers.models.internvl.modeling_internvl",
        "transformers.models.qwen3_moe.modeling_qwen3_moe",
    )
    shares_host = True

    def requested(self, run: AccuracyRun) -> BatchSizeRequest:
        """Samples of a batch."""
        return run.batch_size

    def model(self, run: AccuracyRun) -> str:
        """Name of the model."""
        return run.model

    def label(self, run: AccuracyRun) -> str:
        """Model and knobs."""
        return f"{run.model} {run.point}".strip()

    def family(self, run: AccuracyRun) -> tuple[Any, ...]:
        """Model, data and length of an answer."""
        return tuple(getattr(run, name) for name in FAMILY)

    def near(self, run: AccuracyRun) -> tuple[Any, ...]:
        """The knobs; `max_crops` where it is unknown and so cannot scale the memory."""
        return (*(getattr(run, name) for name in NEAR), run.max_crops is None)

    def sample_length(self, run: AccuracyRun) -> float | None:
        """Crops of an image with its overview; None for the model's own number."""
        return run.max_crops and run.max_crops + 1

    def ranks(self, run: AccuracyRun) -> int:
        """Processes of the run."""
        return run.ranks

    def scale_values(self, run: AccuracyRun) -> dict[str, Any]:
        """The knobs, with the blocks of the model where they are known without loading it."""
        total = run.embedded.num_layers if run.embedded else None
        return run.model_dump() | {"total_blocks": total}

    def columns(self, run: AccuracyRun) -> dict[str, Any]:
        """Model, knobs, what is done, precision."""
        return {
            "model_size": run.model,
            "knobs": run.point,
            "mode": "generate",
            "precision": run.precision,
        }

    @contextmanager
    def data(self, run: AccuracyRun, path: str | None) -> Iterator[str]:
        """Yield the training.json beside the embedded model, or an empty text for other models."""
        if run.model == EMBEDDED and not path:
            raise InputError("--data: must be the training.json of the embedded model")
        yield path or ""

    def worst_case(self, run: AccuracyRun, data: str) -> dict[str, int | str]:
        """Full answers to the longest of the first prompts."""
        return {
            "workload": "generate",
            "max_new_tokens": run.max_new_tokens,
            "longest_prompt_of": min(LOOKED_AT, run.num_samples),
        }

    def workload(
        self, run: AccuracyRun, batch_size: int, data: str, device: Any
    ) -> Callable[[], None]:
        """Answer a batch of the longest prompt."""
        from scripts.lib.kinds.accuracy.workload import answer

        return answer(run, batch_size, data, device)
