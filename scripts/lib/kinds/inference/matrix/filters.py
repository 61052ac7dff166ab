"""Filters: which blocks, and which of their concurrencies, a sweep keeps."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields

from scripts.lib.kinds.inference.matrix.blocks import Block
from scripts.lib.kinds.inference.matrix.seq_lens import SEQ_LENS

Values = tuple[str, ...]

_KEEPS: dict[str, Callable[[Block, Values], bool]] = {
    "model_prefix": lambda block, values: block.entry.startswith(values),
    "precision": lambda block, values: block.settings["precision"] in values,
    "framework": lambda block, values: block.settings["framework"] in values,
    "runner_type": lambda block, values: block.settings["runner"] in values,
    "seq_lens": lambda block, values: block.seq_lens in [SEQ_LENS[value] for value in values],
}


@dataclass(frozen=True)
class Filters:
    """All filters must keep a point; one of the values of a filter is enough.

    `model_prefix` keeps entries whose name starts with a value, the others compare the field.
    An empty filter keeps everything. The limits of `conc` and `tp` are inclusive.
    """

    model_prefix: Values = ()
    precision: Values = ()
    framework: Values = ()
    runner_type: Values = ()
    seq_lens: Values = ()
    min_conc: int | None = None
    max_conc: int | None = None
    max_tp: int | None = None

    @classmethod
    def of(cls, source: object) -> "Filters":
        """Filters from the attributes of `source` that are set: lists, numbers; None is unset."""
        given = {field.name: getattr(source, field.name, None) for field in fields(cls)}
        return cls(
            **{
                name: tuple(value) if isinstance(value, list) else value
                for name, value in given.items()
                if value is not None
            }
        )

    def apply(self, candidates: Iterable[Block]) -> list[Block]:
        """Blocks that pass, in their order, with the concurrencies that pass."""
        kept = (block for block in candidates if self._keeps(block))
        return [narrowed for block in kept if (narrowed := self._narrowed(block))]

    @property
    def alternatives(self) -> bool:
        """Whether a filter has several values, so that one without a match stays unseen."""
        return any(len(getattr(self, name)) > 1 for name in _KEEPS)

    def unmatched(self, candidates: Iterable[Block]) -> list[str]:
        """Values that no block has, each as `--filter value`: slips that an OR would hide."""
        candidates = list(candidates)
        return [
            f"{_option(name)} {value}"
            for name, keeps in _KEEPS.items()
            for value in getattr(self, name)
            if not any(keeps(block, (value,)) for block in candidates)
        ]

    def __str__(self) -> str:
        """Write the filters as the options of the command; empty where none is set."""
        options = ((field.name, getattr(self, field.name)) for field in fields(self))
        return " ".join(
            f"{_option(name)} {' '.join(value) if isinstance(value, tuple) else value}"
            for name, value in options
            if value not in ((), None)
        )

    def _keeps(self, block: Block) -> bool:
        if self.max_tp is not None and block.tp > self.max_tp:
            return False
        given = ((keeps, getattr(self, name)) for name, keeps in _KEEPS.items())
        return all(keeps(block, values) for keeps, values in given if values)

    def _narrowed(self, block: Block) -> Block | None:
        if self.min_conc is None and self.max_conc is None:
            return block
        low, high = self.min_conc or 1, self.max_conc or max(block.conc)
        conc = tuple(conc for conc in block.conc if low <= conc <= high)
        return block.changed(conc=conc) if conc else None


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
