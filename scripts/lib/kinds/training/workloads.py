"""What a probe of a training run does at a batch size, on the run's own data.

A workload builds all that it needs, goes through it once, and returns a function that goes through
it again.
"""

from collections.abc import Callable
from pathlib import Path

import torch

from scripts.lib.kinds.training.config import TrainingRun
from scripts.lib.kinds.training.measure import exercise
from scripts.lib.kinds.training.step import autocast_of, build_model
from scripts.lib.kinds.training.tokens import sample_batches


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
    model = build_model(run, device).eval()
    # Rotary positions have no table that would be too short; only a warning reads this.
    model.config.max_position_embeddings += run.search.max_new_tokens
    ids = sample_batches(tokens, run.vocab, batch_size, run.context_length, 1, run.seed)[0]
    prompts = torch.from_numpy(ids).to(device)

    def once() -> None:
        with torch.inference_mode(), autocast_of(run, device):
            model(input_ids=prompts)
            model.generate(
                prompts,
                attention_mask=torch.ones_like(prompts),
                max_new_tokens=run.search.max_new_tokens,
                do_sample=False,
                use_cache=True,
                eos_token_id=None,
                pad_token_id=0,
            )

    once()
    return once


WORKLOADS = {"steps": steps, "generate": generate}
