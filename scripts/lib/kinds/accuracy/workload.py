"""What a probe of an accuracy run does at a batch size: answers to the longest prompt."""

from collections.abc import Callable
from pathlib import Path

import torch

from scripts.lib.kinds.accuracy.config import AccuracyRun
from scripts.lib.kinds.accuracy.data import read_samples
from scripts.lib.kinds.accuracy.evaluation import generate, turned_knobs
from scripts.lib.kinds.accuracy.knobs.pixels import collate
from scripts.lib.kinds.accuracy.loading import load
from scripts.lib.kinds.accuracy.measurement import LOOKED_AT


def answer(
    run: AccuracyRun, batch_size: int, checkpoint: str | Path, device: torch.device
) -> Callable[[], None]:
    """Answer the sample with the longest prompt, as often as the batch is large.

    It is the longest of the run's first `LOOKED_AT` samples: preparing all would take as long as
    answering them. A longer one later on meets the guard of the real run, which halves the batch.
    The knobs are turned as in the run, and no end-of-sequence token cuts an answer short of
    `max_new_tokens`. `checkpoint` is the `training.json` beside the embedded model, or empty.
    Blocks that are chosen by importance take as much memory as the first ones.
    """
    loaded = load(run, Path(checkpoint).parent if checkpoint else None, device)
    samples = read_samples(run)
    if run.block_selection == "importance":
        run = run.model_copy(update={"block_selection": "prefix"})
    knobs = turned_knobs(run, loaded, samples[0], device, ())
    knobs.__enter__()  # until the process of the probe ends
    looked_at = (samples[place] for place in range(min(len(samples), LOOKED_AT)))
    encoded = [loaded.pixels.encode(sample.image, sample.question) for sample in looked_at]
    longest = max(encoded, key=lambda one: (one.prompt_tokens, one.patches))
    inputs = collate([longest] * batch_size, loaded.pad_id)

    def once() -> None:
        generate(loaded, inputs, device, run.max_new_tokens, eos_token_id=None)

    once()
    return once
