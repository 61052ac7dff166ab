"""What a probe does at a batch size: the worst case of the run, built from the run's own data.

A workload builds all that it needs, goes through it once, and returns a function that goes through
it again.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from scripts.lib.batch_size.task import LOOKED_AT
from scripts.lib.config.accuracy import AccuracyRun
from scripts.lib.config.batch_size import BatchSizeSearch
from scripts.lib.config.ddp import DdpRun
from scripts.lib.config.training import TrainingRun
from scripts.lib.tokens import sample_batches
from scripts.lib.training.measure import exercise
from scripts.lib.training.step import autocast_of, build_model


def steps(
    run: TrainingRun, batch_size: int, tokens: str | Path, device: torch.device
) -> Callable[[], None]:
    """Two whole steps of the run, so that gradients and optimiser state exist."""
    return exercise(run, batch_size, tokens, device).whole


def generate(
    run: TrainingRun, batch_size: int, tokens: str | Path, device: torch.device
) -> Callable[[], None]:
    """Run a forward pass over full contexts, then a generation of `max_new_tokens` for each.

    No end-of-sequence token is known to the generation, so that every sequence grows to its
    longest and the cache of keys and values with it.
    """
    settings = run.batch_size_search or BatchSizeSearch()
    model = build_model(run, device).eval()
    # Rotary positions have no table that would be too short; only a warning reads this.
    model.config.max_position_embeddings += settings.max_new_tokens
    ids = sample_batches(tokens, run.vocab, batch_size, run.context_length, 1, run.seed)[0]
    prompts = torch.from_numpy(ids).to(device)

    def once() -> None:
        with torch.inference_mode(), autocast_of(run, device):
            model(input_ids=prompts)
            model.generate(
                prompts,
                attention_mask=torch.ones_like(prompts),
                max_new_tokens=settings.max_new_tokens,
                do_sample=False,
                use_cache=True,
                eos_token_id=None,
                pad_token_id=0,
            )

    once()
    return once


def ddp_step(
    run: DdpRun, batch_size: int, text: str | Path, device: torch.device
) -> Callable[[], None]:
    """Two data-parallel steps of one rank, all samples as long as the longest of the text.

    Gradients, DDP's buckets and the state of the optimiser are alive, as on each of many ranks,
    and so are those of the other modes, which train in turns; this process is the only one of its
    group. `text` is the `meta.json` of the run's text.
    """
    from scripts.lib.ddp.cache import open_text, random_samples
    from scripts.lib.ddp.step import Learner, count_targets

    if not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    known = open_text(Path(text).parent)
    samples = random_samples(batch_size, known.longest(run.max_length), known)
    learner, *others = [Learner(run, known, device, run.seed) for _ in run.modes]
    rows, lengths = np.arange(batch_size), samples.lengths(run.max_length)
    total = count_targets(run, lengths)
    for other in others:
        other.step(samples, rows[:1], count_targets(run, lengths[:1]))

    def once() -> None:
        learner.step(samples, rows, total)

    once()
    once()
    return once


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
    from scripts.lib.accuracy.data import read_samples
    from scripts.lib.accuracy.evaluation import generate, turned_knobs
    from scripts.lib.accuracy.knobs.pixels import collate
    from scripts.lib.accuracy.loading import load

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


WORKLOADS = {"steps": steps, "generate": generate}
