"""The one style of all figures, and how they are written."""

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axis import Tick
from matplotlib.figure import Figure
from matplotlib.text import Text

from scripts.lib.results.files import atomic_path

# Okabe and Ito's palette, told apart by the colour-blind, too; yellow is too pale for lines.
COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#555555", "#882255"]
LINES = ["-", "--", ":", "-."]
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "*"]

STYLE = {
    "figure.dpi": 100,
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.labelcolor": "#1c2733",
    "axes.edgecolor": "#8895a3",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e8ed",
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "errorbar.capsize": 3,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "xtick.color": "#44515e",
    "ytick.color": "#44515e",
    "svg.hashsalt": "sweepmake",  # the same figure is the same file
}


def use_style() -> None:
    """Set the style for all figures that follow."""
    plt.rcParams.update(STYLE)


def save(figure: Figure, stem: str | Path) -> list[str]:
    """Write a figure as `{stem}.svg` and `{stem}.png` and close it; returns the two paths."""
    _take_texts_as_they_are(figure)
    written = []
    for suffix, metadata in ((".svg", {"Date": None}), (".png", None)):
        with atomic_path(f"{stem}{suffix}") as temporary:
            figure.savefig(temporary, dpi=150, metadata=metadata)
        written.append(f"{stem}{suffix}")
    plt.close(figure)
    return written


def _take_texts_as_they_are(figure: Figure) -> None:
    """Names and answers may have a `$`, which is no formula; ticks have formulas of their own."""
    ticks = {label for tick in figure.findobj(Tick) for label in (tick.label1, tick.label2)}
    for text in figure.findobj(Text):
        text.set_parse_math(text in ticks)


def nothing_to_show(reason: str) -> Figure:
    """Return a figure that says why it is empty, so that the report stays whole."""
    figure, axes = plt.subplots(figsize=(6, 2))
    axes.axis("off")
    axes.text(0.5, 0.5, reason, ha="center", va="center", color="#5b6875", wrap=True)
    return figure
