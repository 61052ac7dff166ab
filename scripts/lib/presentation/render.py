"""Write a table as Markdown and as a page that sorts itself."""

from collections.abc import Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader

TEMPLATES = Path(__file__).parents[3] / "report"


def markdown(frame: pd.DataFrame) -> str:
    """Render a table in GitHub's Markdown; numbers are aligned to the right."""
    texts = [[_escaped(text(value)) for value in row] for row in frame.itertuples(index=False)]
    heads = [_escaped(str(name)) for name in frame.columns]
    widths = [max(len(row[i]) for row in [heads, *texts]) for i in range(len(heads))]
    numeric = [_is_numeric(frame.iloc[:, i]) for i in range(len(heads))]
    rule = ["-" * (w - 1) + ":" if n else "-" * w for w, n in zip(widths, numeric, strict=True)]
    lines = [heads, rule, *texts]
    return "\n".join(
        "| "
        + " | ".join(
            cell.rjust(w) if n else cell.ljust(w)
            for cell, w, n in zip(line, widths, numeric, strict=True)
        )
        + " |"
        for line in lines
    )


def html(frame: pd.DataFrame, title: str, first: Sequence[str] = ()) -> str:
    """Render a table as a self-contained page; a click on a column's head sorts by it.

    The columns named in `first` come first and a switch shows the others; without any of them all
    are shown.
    """
    leading = [name for name in first if name in frame.columns]
    frame = frame[[*leading, *(name for name in frame.columns if name not in leading)]]
    shown = len(leading) or len(frame.columns)
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True)
    rows = [
        [{"text": text(value), "sort": _sort_key(value)} for value in row]
        for row in frame.itertuples(index=False)
    ]
    heads = [
        {"text": str(name), "numeric": _is_numeric(frame.iloc[:, i]), "more": i >= shown}
        for i, name in enumerate(frame.columns)
    ]
    return environment.get_template("table.html").render(title=title, heads=heads, rows=rows)


def text(value: Any) -> str:
    """Write a value for people: four significant digits, thousands separated, nothing for none."""
    if pd.isna(value):
        return ""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, Integral):
        value = int(value)
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, Real):
        value = float(value)
        if value != 0 and not 1e-3 <= abs(value) < 1e15:
            return f"{value:.3e}"
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return str(value)


def _sort_key(value: Any) -> str:
    if pd.isna(value):
        return ""
    return repr(float(value)) if isinstance(value, Real | np.bool_) else str(value)


def _is_numeric(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _escaped(cell: str) -> str:
    return cell.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")
