"""Blocks: the points that differ in nothing but their concurrency.

Filters, test modes and duplicates are decided on blocks; single points are only written out for
the batch that is asked for.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from scripts.lib.kinds.inference.matrix.master import Entry, MultiNodeItem, SingleNodeItem
from scripts.lib.kinds.inference.matrix.seq_lens import seq_lens_name

Point = dict[str, Any]

# What a request may need on top of its input and output, e.g. for a chat template; tokens.
EXTRA_TOKENS = 200


@dataclass(frozen=True, slots=True)
class Block:
    """One item of a search space: its settings, and its concurrencies in order.

    `entry` is the entry's name. `settings` has the fields of a point under the names they have in
    a master file, with `conc` left open. A topology over several nodes is one point that carries
    all its concurrencies, any other block one point for each.
    """

    entry: str
    settings: Point
    conc: tuple[int, ...]

    def __len__(self) -> int:
        """Number of points."""
        return 1 if self.multinode else len(self.conc)

    @property
    def multinode(self) -> bool:
        """Whether the block is a topology over several nodes."""
        return "prefill" in self.settings

    @property
    def tp(self) -> int:
        """Tensor parallelism; over several nodes the larger one of prefill and decode."""
        if self.multinode:
            return max(self.settings[side]["tp"] for side in ("prefill", "decode"))
        return self.settings["tp"]

    @property
    def seq_lens(self) -> tuple[int, int]:
        """Input and output length in tokens."""
        return self.settings["isl"], self.settings["osl"]

    def points(self) -> Iterator[Point]:
        """Yield the points, in the order of the concurrencies."""
        if self.multinode:
            yield {**self.settings, "conc": list(self.conc)}
        else:
            for conc in self.conc:
                yield {**self.settings, "conc": conc}

    def changed(self, conc: tuple[int, ...] | None = None, **settings: Any) -> "Block":
        """Copy with other concurrencies, and with other settings, named with underscores."""
        hyphenated = {name.replace("_", "-"): value for name, value in settings.items()}
        return Block(self.entry, {**self.settings, **hyphenated}, conc or self.conc)


def blocks(
    entries: dict[str, Entry], step_size: int, extra_tokens: int = EXTRA_TOKENS
) -> Iterator[Block]:
    """Yield the blocks by entry, sequence length and search-space item, in the files' order."""
    for name, entry in entries.items():
        for lengths in entry.seq_len_configs:
            isl, osl = lengths.isl, lengths.osl
            shared = {
                "image": entry.image,
                "model": entry.model,
                "model-prefix": entry.model_prefix,
                "precision": entry.precision,
                "framework": entry.framework,
                "runner": entry.runner,
                "isl": isl,
                "osl": osl,
            }
            names = {
                "max-model-len": isl + osl + extra_tokens,
                "exp-name": f"{entry.model_prefix}_{seq_lens_name(isl, osl)}",
            }
            if entry.multinode:
                names["disagg"] = entry.disagg
            for item in lengths.search_space:
                settings = {
                    **shared,
                    **_topology(item),
                    "spec-decoding": item.spec_decoding,
                    "conc": None,
                    **names,
                }
                yield Block(name, settings, tuple(item.concurrencies(step_size)))


def highest_tp(candidates: Iterable[Block]) -> list[Block]:
    """Of each entry and sequence length the first block with the highest `tp`, lowest concurrency.

    The order of the entries and lengths stays.
    """
    best: dict[tuple[Any, ...], Block] = {}
    for block in candidates:
        known = best.setdefault((block.entry, *block.seq_lens), block)
        if block.tp > known.tp:
            best[block.entry, *block.seq_lens] = block
    return [block.changed(conc=(min(block.conc),)) for block in best.values()]


def _topology(item: SingleNodeItem | MultiNodeItem) -> Point:
    if isinstance(item, SingleNodeItem):
        return {"tp": item.tp, "ep": item.ep, "dp-attn": item.dp_attn}
    return {side: getattr(item, side).model_dump(by_alias=True) for side in ("prefill", "decode")}
