"""Active parameters and FLOPs of a sample, counted from active experts and blocks and its tokens.

A weight in a matrix product costs two FLOPs a token; Q K^T and its product with V cost
4 x width x context for a token and block (Kaplan et al., Scaling Laws, 2020, table 1).
"""

from dataclasses import dataclass

from torch import nn

from scripts.lib.kinds.accuracy.loading import Loaded


@dataclass(frozen=True)
class Work:
    """Weights in matrix products of a token, and what attention costs by context."""

    parameters: int
    num_active_parameters: int
    decoder_weights: float
    head_weights: int
    attention_width: int
    blocks: int
    vision_weights: int
    vision_width: int
    vision_blocks: int


def work_of(loaded: Loaded) -> Work:
    """Count the weights of a model with its knobs as they are turned now."""
    model, decoder = loaded.model, loaded.blocks.decoder
    share = 1.0
    if loaded.top_k.own is not None and loaded.top_k.num_experts:
        share = loaded.top_k.describe()["top_k"] / loaded.top_k.num_experts
    inactive, weights = 0.0, 0.0
    for name, parameter in loaded.blocks.layers.named_parameters():
        routed = ".experts." in f".{name}" and "shared" not in name
        used = share if routed else 1.0
        inactive += parameter.numel() * (1 - used)
        weights += parameter.numel() * used if parameter.dim() > 1 else 0
    config = decoder.config
    head = model.get_output_embeddings()
    tower = _tower(model)
    vision = getattr(model.config, "vision_config", None)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    heads = config.num_attention_heads
    width = heads * (getattr(config, "head_dim", None) or config.hidden_size // heads)
    return Work(
        parameters=parameters,
        num_active_parameters=round(parameters - inactive),
        decoder_weights=weights,
        head_weights=head.weight.numel() if head is not None else 0,
        attention_width=width,
        blocks=len(loaded.blocks.layers),
        vision_weights=sum(p.numel() for p in tower.parameters() if p.dim() > 1) if tower else 0,
        vision_width=getattr(vision, "hidden_size", 0) if tower else 0,
        vision_blocks=_depth(vision) if tower else 0,
    )


def flops_per_sample(
    work: Work, prompt_tokens: float, new_tokens: float, patches: float, patches_per_image: float
) -> float:
    """FLOPs of reading a prompt and writing an answer; padding is not counted.

    Each token attends to those before it; the head is computed for the last token of the prompt
    and for each one written but the last.
    """
    written = max(new_tokens - 1, 0)
    tokens = prompt_tokens + written
    products = 2 * work.decoder_weights * tokens + 2 * work.head_weights * (1 + written)
    attention = 4 * work.attention_width * work.blocks * tokens * (tokens + 1) / 2
    vision = 2 * work.vision_weights * patches
    vision += 4 * work.vision_width * work.vision_blocks * patches * patches_per_image
    return products + attention + vision


def _tower(model: nn.Module) -> nn.Module | None:
    inner = getattr(model, "model", model)
    for name in ("vision_tower", "vision_model", "visual"):
        if isinstance(getattr(inner, name, None), nn.Module):
            return getattr(inner, name)
    return None


def _depth(vision: object) -> int:
    return getattr(vision, "num_hidden_layers", None) or getattr(vision, "depth", 0) or 0
