"""Is the averaged gradient of a step that of one process with the whole global batch?"""

import copy

import numpy as np
import torch
import torch.distributed as dist

from scripts.lib.kinds.ddp.cache import TokenisedText
from scripts.lib.kinds.ddp.config import DdpRun
from scripts.lib.kinds.ddp.step import Learner, all_sum, count_targets
from scripts.lib.kinds.ddp.streams import Plan

LIMIT = 1e-5


def gradient_error(
    run: DdpRun, text: TokenisedText, device: torch.device, seed: int, plan: Plan
) -> float:
    """Relative error of the averaged gradient of a planned step, in float32 without dropout.

    |g - h| / |h| over all parameters as one vector; h is the gradient of the mean loss of the
    whole global batch in one piece, computed by every rank alone. The largest error of all ranks.
    """
    plain = run.model_copy(update={"precision": "fp32"})
    learner = Learner(plain, text, device, seed)
    learner.ddp.eval()
    alone = copy.deepcopy(learner.model)
    batch = np.concatenate(plan.groups)
    total = count_targets(run, text.train.lengths(run.max_length)[batch])
    learner.gradients(text.train, plan.groups[dist.get_rank()], total)
    loss, _ = learner.loss_sum(alone, text.train, batch)
    (loss / total).backward()
    difference = norm = 0.0
    for ours, theirs in zip(learner.model.parameters(), alone.parameters(), strict=True):
        if theirs.grad is not None:
            difference += float((ours.grad - theirs.grad).double().square().sum())
            norm += float(theirs.grad.double().square().sum())
    errors = torch.zeros(dist.get_world_size(), dtype=torch.float64)
    errors[dist.get_rank()] = (difference / norm) ** 0.5
    return float(all_sum(errors).max())
