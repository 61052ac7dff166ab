"""Model sizes: the dimensions behind a size's name."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from scripts.lib.schema.base import StrictModel

# The table of sizes, which a configuration may add to.
SIZES = Path(__file__).parents[3] / "config" / "sizes.yaml"


class Size(StrictModel):
    """Dimensions of a Llama-style decoder."""

    d_model: int = Field(ge=2, le=1 << 20, description="Width of the residual stream.")
    d_ff: int = Field(ge=1, le=1 << 22, description="Inner width of the SwiGLU feed-forward.")
    num_layers: int = Field(ge=1, le=10_000, description="Number of decoder layers.")
    num_heads: int = Field(ge=1, le=10_000, description="Attention heads; no grouped heads.")

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> Self:
        if self.d_model % (2 * self.num_heads):
            raise ValueError(
                f"d_model {self.d_model} must be a multiple of 2 x num_heads ({self.num_heads}), "
                "because rotary positions turn pairs within a head"
            )
        return self


def count_parameters(vocab: int, d_model: int, d_ff: int, num_layers: int) -> int:
    """Parameters of the decoder: untied embeddings, bias-free projections, RMSNorm weights.

    `2 vocab d + layers (4 d^2 + 3 d d_ff + 2 d) + d`: embedding and head; query, key, value and
    output; gate, up and down; two norms a layer and one at the end.
    """
    layer = 4 * d_model**2 + 3 * d_model * d_ff + 2 * d_model
    return 2 * vocab * d_model + num_layers * layer + d_model
