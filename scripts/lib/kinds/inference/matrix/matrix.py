"""The matrix of a sweep: its points in order, each once, any part of them on demand."""

import json
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass

from scripts.lib.kinds.inference.matrix.blocks import Block, Point
from scripts.lib.schema.collector import paused_collector


@dataclass(frozen=True)
class Matrix:
    """Blocks without duplicate points; `duplicates` is the number of points that were removed.

    A point is a duplicate where another has the same settings; the name of the entry is none.
    """

    blocks: list[Block]
    duplicates: int

    @classmethod
    def of(cls, candidates: Iterable[Block]) -> "Matrix":
        """Keep the first of all points that are exactly the same."""
        kept, duplicates = [], 0
        seen: dict[Hashable, set[int]] = {}
        for block in candidates:
            key = _key(block)
            known = seen.get(key)
            if known is None:
                seen[key] = set(block.conc)
                kept.append(block)
                continue
            new = () if block.multinode else tuple(c for c in block.conc if c not in known)
            known.update(new)
            duplicates += len(block) - len(new)
            if new:
                kept.append(block.changed(conc=new))
        return cls(kept, duplicates)

    def __len__(self) -> int:
        """Number of points."""
        return sum(map(len, self.blocks))

    @paused_collector()
    def points(self, part: slice = slice(None)) -> list[Point]:
        """Points of a part of the order; only its blocks are written out."""
        start, stop, _ = part.indices(len(self))
        return list(self._between(start, stop))

    def _between(self, start: int, stop: int) -> Iterator[Point]:
        position = 0
        for block in self.blocks:
            if position >= stop:
                return
            if position + len(block) > start:
                points = list(block.points())
                yield from points[max(0, start - position) : stop - position]
            position += len(block)


def _key(block: Block) -> Hashable:
    """What the points of two blocks must share, beside `conc`, to be the same."""
    if not block.multinode:
        return tuple(block.settings.values())
    return json.dumps(block.settings), block.conc
