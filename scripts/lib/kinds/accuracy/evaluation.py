"""Answer samples in batches, guarded against running out of memory, and keep every answer."""

import base64
import gc
import io
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch

from scripts.lib.devices.units import MIB
from scripts.lib.kinds.accuracy.config import AccuracyRun
from scripts.lib.kinds.accuracy.data import Sample, Samples
from scripts.lib.kinds.accuracy.knobs.base import Knob, turned
from scripts.lib.kinds.accuracy.knobs.blocks import chosen_blocks
from scripts.lib.kinds.accuracy.knobs.pixels import Encoded, collate
from scripts.lib.kinds.accuracy.latency import Stages
from scripts.lib.kinds.accuracy.loading import Loaded
from scripts.lib.kinds.accuracy.metrics import SCORES
from scripts.lib.runtime.memory import LiveStorage, is_out_of_memory
from scripts.lib.runtime.outcomes import Unsupported

log = logging.getLogger(__name__)
EXAMPLES, EXAMPLE_SIDE = 6, 192


@dataclass
class Evaluator:
    """Answers samples of a run with a loaded model whose knobs are turned.

    `batch_size` is halved when memory runs out; `ooms` tells each time at which size.
    """

    run: AccuracyRun
    loaded: Loaded
    samples: Samples
    device: torch.device
    batch_size: int
    ooms: list[dict[str, Any]] = field(default_factory=list)
    peak_bytes: float = 0

    def batches(self, places: Sequence[int]) -> Iterator[dict[str, Any]]:
        """Answer the samples at some places; yields a finished batch at a time.

        Raises torch's out-of-memory error when not even one sample fits.
        """
        rest, encoded = list(places), {}
        while rest:
            chosen = rest[: self.batch_size]
            for place in chosen:
                if place not in encoded:
                    sample = self.samples[place]
                    encoded[place] = (sample, self.encode(sample))
            batch = [encoded[place] for place in chosen]
            found, reason = None, ""
            try:
                found = self._answer(batch)
            except Exception as error:
                if not is_out_of_memory(error) or self.batch_size == 1:
                    raise
                reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            # Outside the `except`: there the exception would keep all frames and their tensors.
            if found is None:
                self._halve(len(chosen), reason)
                continue
            for place in chosen:
                del encoded[place]
            rest = rest[len(chosen) :]
            yield found

    def encode(self, sample: Sample) -> Encoded:
        """Make a sample's inputs."""
        return self.loaded.pixels.encode(sample.image, sample.question)

    def warm_up(self, places: Sequence[int]) -> None:
        """Answer one batch without keeping it, and note the peak of memory."""
        for found in self.batches(places[: self.batch_size]):
            log.info("warm-up: batch of %d", found["batch_size"])

    def _answer(self, batch: list[tuple[Sample, Encoded]]) -> dict[str, Any]:
        start = time.perf_counter()
        stages = Stages(self.device)
        with self._memory(), stages.watch(self.loaded.model):
            inputs = collate([encoded for _, encoded in batch], self.loaded.pad_id)
            tokens = generate(self.loaded, inputs, self.device, self.run.max_new_tokens)
        texts = self.loaded.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        counts = _written(tokens, self.loaded)
        score = SCORES[self.run.metric]
        samples = [
            {
                "id": sample.id,
                "question": sample.question,
                "answers": sample.answers,
                "prediction": text.strip(),
                "score": score(text, sample.answers, sample.choices),
                "crops": encoded.crops,
                "vision_tokens": encoded.vision_tokens,
                "patches": encoded.patches,
                "patches_per_image": encoded.patches_per_image,
                "prompt_tokens": encoded.prompt_tokens,
                "new_tokens": count,
                "digest": encoded.digest,
            }
            for (sample, encoded), text, count in zip(batch, texts, counts, strict=True)
        ]
        seconds = time.perf_counter() - start
        return {"samples": samples, "batch_size": len(batch), "seconds": round(seconds, 6),
                **stages.told()}  # fmt: skip

    @contextmanager
    def _memory(self) -> Iterator[None]:
        """Note the peak, and on a CPU with a budget keep within it.

        Counting takes time in every operator, so without a budget only the first batch is counted.
        """
        if self.device.type == "cuda":
            yield
            self.peak_bytes = max(self.peak_bytes, torch.cuda.max_memory_allocated(self.device))
            return
        weights = weight_bytes(self.loaded)
        budget = self.run.memory_budget_mib
        counted = budget is not None or not self.peak_bytes
        limit = None if budget is None else budget * MIB
        with LiveStorage(limit, weights) if counted else nullcontext() as storage:
            yield
        if storage is not None:
            self.peak_bytes = max(self.peak_bytes, weights + storage.peak_bytes)

    def _halve(self, size: int, reason: str) -> None:
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self.batch_size = max(1, min(size, self.batch_size) // 2)
        self.ooms.append({"batch_size": size, "next_batch_size": self.batch_size, "reason": reason})
        log.warning("out of memory with %d samples; again with %d", size, self.batch_size)


def generate(
    loaded: Loaded,
    inputs: dict[str, torch.Tensor],
    device: torch.device,
    max_new_tokens: int,
    **options: Any,
) -> torch.Tensor:
    """Write answers greedily: token ids of shape (samples, at most max_new_tokens)."""
    model = loaded.model
    moved = {
        name: value.to(device, model.dtype if value.is_floating_point() else None)
        for name, value in inputs.items()
    }
    with torch.inference_mode():
        found = model.generate(
            **moved,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            num_beams=1,
            use_cache=True,
            pad_token_id=loaded.pad_id,
            **options,
        )
    return found[:, inputs["input_ids"].shape[1] :].cpu()


def weight_bytes(loaded: Loaded) -> int:
    """Bytes of all weights as LiveStorage counts them, also of blocks that are left out."""
    sizes = (p.numel() * p.element_size() for p in loaded.model.parameters())
    return sum(-(-size // LiveStorage.ROUNDING) * LiveStorage.ROUNDING for size in sizes)


@contextmanager
def turned_knobs(
    run: AccuracyRun, loaded: Loaded, sample: Sample, device: torch.device, ranking: Sequence[int]
) -> Iterator[None]:
    """Turn the knobs of a run for the time of the block, each checked on a sample.

    Raises Unsupported for a knob that the model does not have, or that changes nothing.
    """
    settings: list[tuple[Knob, Any]] = []
    if run.top_k is not None:
        settings.append((loaded.top_k, run.top_k))
    if run.num_active_blocks is not None:
        kept = chosen_blocks(run.num_active_blocks, run.block_selection, loaded.blocks.own, ranking)
        settings.append((loaded.blocks, kept))
    if run.max_crops is not None and sample.image is None:
        raise Unsupported("max_crops: the samples have no images")
    encoded = loaded.pixels.encode(sample.image, sample.question)
    with turned(settings, lambda: logits_of(loaded, [encoded], device)):
        try:
            if run.max_crops is not None:
                # Not checked by logits: an image that is small has the same crops at many values.
                loaded.pixels.apply(run.max_crops)
            yield
        finally:
            loaded.pixels.restore()


def logits_of(loaded: Loaded, encoded: list[Encoded], device: torch.device) -> torch.Tensor:
    """Logits of a batch, on the CPU."""
    inputs = collate(encoded, loaded.pad_id)
    moved = {
        name: value.to(device, loaded.model.dtype if value.is_floating_point() else None)
        for name, value in inputs.items()
    }
    with torch.inference_mode():
        return loaded.model(**moved).logits.cpu()


def example_images(samples: Samples) -> list[str]:
    """PNGs of the first samples' images, small, in base64; for the report."""
    found = []
    for place in range(min(EXAMPLES, len(samples))):
        image = samples[place].image
        if image is None:
            break
        image.thumbnail((EXAMPLE_SIDE, EXAMPLE_SIDE))
        file = io.BytesIO()
        image.save(file, "PNG")
        found.append(base64.b64encode(file.getvalue()).decode())
    return found


def _written(tokens: torch.Tensor, loaded: Loaded) -> list[int]:
    """Tokens of each answer up to and with its end."""
    ends = loaded.model.generation_config.eos_token_id
    ends = set(ends if isinstance(ends, list) else [ends])
    return [
        next((i for i, token in enumerate(row, 1) if token in ends), len(row))
        for row in tokens.tolist()
    ]
