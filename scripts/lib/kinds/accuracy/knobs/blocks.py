"""The knob `num_active_blocks`: decoder blocks that stay."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn

from scripts.lib.kinds.accuracy.knobs.base import Knob
from scripts.lib.runtime.outcomes import Unsupported

# Names that decoders have for the list of their blocks; `h` in GPT-2, Bloom, Falcon and their like.
BLOCKS = ("layers", "h")
# Names of a block's number, by which its parts find their place in the cache.
NUMBERS = ("layer_idx", "layer_id")


def decoder_of(model: nn.Module) -> nn.Module:
    """Return the module that owns the decoder's blocks (see `blocks_of`).

    Raises Unsupported where there is none.
    """
    found = model.get_decoder() if hasattr(model, "get_decoder") else model
    for _ in range(3):
        if _name_of(found):
            return found
        # One level deeper in Llama4, which wraps its decoder.
        found = getattr(found, "model", None) or getattr(found, "language_model", None)
        if found is None:
            break
    raise Unsupported(
        f"num_active_blocks: {type(model).__name__} has no decoder blocks that can be removed"
    )


def blocks_of(decoder: nn.Module) -> nn.ModuleList:
    """Return the blocks of a decoder that are in force now, in order."""
    return getattr(decoder, _name_of(decoder))


def _name_of(module: nn.Module) -> str:
    """Name of the list of blocks that a module owns; empty without one."""
    lists = (name for name in BLOCKS if isinstance(getattr(module, name, None), nn.ModuleList))
    return next(lists, "")


@contextmanager
def active_blocks(model: nn.Module, kept: Iterable[int]) -> Iterator[None]:
    """Leave only the given blocks in the decoder, in order, for the time of the block.

    The cache of keys and values counts blocks by their numbers and by the configuration, so both
    follow; everything is put back at the end, however it comes.
    """
    decoder, kept = decoder_of(model), list(kept)
    name, layers, config = _name_of(decoder), blocks_of(decoder), decoder.config
    settings = {name: getattr(config, name, None) for name in ("num_hidden_layers", "layer_types")}
    numbered = [one for layer in layers for one in _numbered(layer)]
    setattr(decoder, name, nn.ModuleList(layers[number] for number in kept))
    for place, number in enumerate(kept):
        for part, attribute, _ in _numbered(layers[number]):
            setattr(part, attribute, place)
    config.num_hidden_layers = len(kept)
    if settings["layer_types"] is not None:
        config.layer_types = [settings["layer_types"][number] for number in kept]
    try:
        yield
    finally:
        setattr(decoder, name, layers)
        _restore(config, settings)
        for part, attribute, number in numbered:
            setattr(part, attribute, number)


def _numbered(layer: nn.Module) -> list[tuple[nn.Module, str, int]]:
    """Parts of a block that know its number, with the attribute and the number."""
    return [
        (part, attribute, getattr(part, attribute))
        for part in layer.modules()
        for attribute in NUMBERS
        if isinstance(getattr(part, attribute, None), int)
    ]


def _restore(config: Any, settings: dict[str, Any]) -> None:
    for name, value in settings.items():
        if value is not None:
            setattr(config, name, value)


class ActiveBlocks(Knob):
    """Leaves only some of the decoder's blocks."""

    name = "num_active_blocks"

    def __init__(self, model: nn.Module):
        """Find the decoder of a model."""
        self._model, self._stack = model, ExitStack()
        self.decoder = decoder_of(model)
        self.own = len(self.layers)
        self.kept = list(range(self.own))

    @property
    def layers(self) -> nn.ModuleList:
        """The blocks that are in force now."""
        return blocks_of(self.decoder)

    def apply(self, value: Sequence[int]) -> None:
        """Leave the blocks with these numbers, in the order of the model."""
        kept = sorted(value)
        if not kept or kept[-1] >= self.own or len(set(kept)) < len(kept):
            raise Unsupported(
                f"num_active_blocks: blocks {kept} are out of range; the model has {self.own}"
            )
        self.restore()
        self._stack.enter_context(active_blocks(self._model, kept))
        self.kept = kept

    def restore(self) -> None:
        """Put all blocks back."""
        self._stack.close()
        self.kept = list(range(self.own))

    def describe(self) -> dict[str, Any]:
        """How many blocks there are, and which."""
        return {"num_active_blocks": len(self.layers), "active_blocks": self.kept}


def chosen_blocks(
    count: int | None, selection: str | Sequence[int] | None, total: int, ranking: Sequence[int]
) -> list[int]:
    """Numbers of the blocks that stay, nested: those of `count` are among those of `count` + 1.

    `ranking` are all blocks, the most important first, for `selection: importance`; a list of
    blocks is a ranking of its own. Raises Unsupported for a count or block that is out of range.
    """
    count = total if count is None else count
    if not 1 <= count <= total:
        raise Unsupported(
            f"num_active_blocks: {count} is out of range; the model has {total} blocks"
        )
    if isinstance(selection, str) or selection is None:
        order = list(ranking) if selection == "importance" else list(range(total))
    else:
        order = list(selection)
    if count == total:
        return list(range(total))
    if len(order) < count or any(not 0 <= number < total for number in order):
        raise Unsupported(
            f"block_selection: {order} does not name {count} of the blocks 0 to {total - 1}"
        )
    return sorted(order[:count])
