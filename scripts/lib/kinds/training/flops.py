"""Model FLOPs of a step, by formula."""

from scripts.lib.kinds.training.config import Mode, TrainingRun

# The backward pass computes two products for each of the forward pass: by the input and by the
# weight. The optimiser's element-wise work is left out, as is usual.
_PASSES: dict[Mode, int] = {"forward": 1, "forward_backward": 3, "training_step": 3}


def flops_per_step(run: TrainingRun, batch_size: int) -> float:
    """Model FLOPs of one step of `batch_size` sequences.

    Forward pass per token: `2 N + 4 L T d`, N the weights in matrix products (projections,
    feed-forward and the output head; the embedding is a look-up), L layers, T context length,
    d width; the second term is Q K^T and its product with V over the whole square, causal or not.
    Backward is twice that. After Chowdhery et al., PaLM, 2022, appendix B, where training costs
    `6 N + 12 L H Q T` a token with H Q = d.
    """
    weights = run.num_layers * (4 * run.d_model**2 + 3 * run.d_model * run.d_ff)
    weights += run.d_model * run.vocab
    attention = 4 * run.num_layers * run.context_length * run.d_model
    tokens = batch_size * run.context_length
    return float(_PASSES[run.mode] * tokens * (2 * weights + attention))
