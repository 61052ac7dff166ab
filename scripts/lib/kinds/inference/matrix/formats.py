"""How points are printed: one JSON array, lines of JSON, or a table for the eye."""

import json
from collections.abc import Sequence
from typing import Any

from scripts.lib.kinds.inference.matrix.blocks import Point


def json_text(points: Sequence[Point]) -> str:
    """One JSON array on one line."""
    return json.dumps(points)


def jsonl_text(points: Sequence[Point]) -> str:
    """One JSON object a line."""
    return "\n".join(map(json.dumps, points))


def table_text(points: Sequence[Point]) -> str:
    """Aligned columns with the names of the fields above them."""
    columns = list(dict.fromkeys(name for point in points for name in point))
    return aligned([columns, *([_cell(point.get(name)) for name in columns] for point in points)])


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """`rows` as lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
