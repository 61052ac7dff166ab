"""The knob `top_k`: experts that each token is sent to."""

from typing import Any

from torch import nn

from scripts.lib.kinds.accuracy.knobs.base import Knob
from scripts.lib.runtime.outcomes import Unsupported

EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
PER_TOKEN = ("num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k", "top_k_experts")


class TopK(Knob):
    """Sets `top_k` of every router and mixture module.

    The configuration alone does nothing: modules read it once, when they are built. It is kept in
    step for what reads it later.
    """

    name = "top_k"

    def __init__(self, model: nn.Module):
        """Find the routers of a model."""
        self._modules = [part for part in model.modules() if _routes(part)]
        self._configs = [c for c in _configs(model.config) if any(hasattr(c, n) for n in PER_TOKEN)]
        self._before = [part.top_k for part in self._modules]
        self._values = [{n: getattr(c, n) for n in PER_TOKEN if hasattr(c, n)}
                        for c in self._configs]  # fmt: skip
        self.own = self._before[0] if self._before else None
        self.num_experts = next(
            (getattr(c, n) for c in self._configs for n in EXPERTS if getattr(c, n, None)), None
        )

    def apply(self, value: int) -> None:
        """Send each token to `value` experts."""
        if not self._modules:
            raise Unsupported("top_k: the model has no routed experts")
        if self.num_experts and value > self.num_experts:
            raise Unsupported(
                f"top_k: {value} is out of range; the model has {self.num_experts} experts"
            )
        for part in self._modules:
            part.top_k = value
        for config, values in zip(self._configs, self._values, strict=True):
            for name in values:
                setattr(config, name, value)

    def restore(self) -> None:
        """Send tokens to as many experts as the checkpoint says."""
        for part, value in zip(self._modules, self._before, strict=True):
            part.top_k = value
        for config, values in zip(self._configs, self._values, strict=True):
            for name, value in values.items():
                setattr(config, name, value)

    def describe(self) -> dict[str, Any]:
        """Experts of a token and of a block; None without any."""
        counts = sorted({part.top_k for part in self._modules})
        return {"top_k": counts[0] if counts else None, "num_experts": self.num_experts}


def _routes(part: nn.Module) -> bool:
    value = getattr(part, "top_k", None)
    if not isinstance(value, int) or isinstance(value, bool):
        return False
    name = type(part).__name__.lower()
    return any(word in name for word in ("router", "moe", "gate", "gating")) or hasattr(
        part, "experts"
    )


def _configs(config: Any) -> list[Any]:
    """Return a configuration and those within it."""
    inner = [value for value in vars(config).values() if hasattr(value, "model_type")]
    return [config, *(below for part in inner for below in _configs(part))]
