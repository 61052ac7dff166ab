"""How many points each value of a filter would leave, without a call for each."""

from collections.abc import Callable, Iterable, Sequence

from scripts.lib.kinds.inference.matrix.blocks import Block
from scripts.lib.kinds.inference.matrix.matrix import Matrix
from scripts.lib.kinds.inference.matrix.seq_lens import seq_lens_name
from scripts.lib.sweeps.batches import batch_count

_VALUE: dict[str, Callable[[Block], str]] = {
    "precision": lambda block: block.settings["precision"],
    "framework": lambda block: block.settings["framework"],
    "runner-type": lambda block: block.settings["runner"],
    "seq-lens": lambda block: seq_lens_name(*block.seq_lens),
}


def count_rows(found: Sequence[Block], max_batch_size: int) -> list[list[str]]:
    """Rows of filter, value, points and batches; the first row is the header, the second all.

    Each number is what the sweep gives with that value as a further filter. As the filter does,
    `model-prefix` looks at the names of the entries.
    """
    rows = [["filter", "value", "entries", "batches"]]
    for name, value, blocks in (("all", "", found), *_groups(found)):
        entries = len(Matrix.of(blocks))
        rows.append([name, value, str(entries), str(batch_count(entries, max_batch_size))])
    return rows


def _groups(found: Sequence[Block]) -> Iterable[tuple[str, str, list[Block]]]:
    for prefix in dict.fromkeys(block.settings["model-prefix"] for block in found):
        yield "model-prefix", prefix, [b for b in found if b.entry.startswith(prefix)]
    for name, value_of in _VALUE.items():
        groups: dict[str, list[Block]] = {}
        for block in found:
            groups.setdefault(value_of(block), []).append(block)
        for value, blocks in groups.items():
            yield name, value, blocks
