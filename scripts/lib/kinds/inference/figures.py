"""Figures of served models: throughput per GPU against what one user sees.

Each hardware, framework and precision, and what else differs, has a colour. Its Pareto frontier,
the points that no other one of it beats on both axes, is a line; the points off it are dimmed.
"""

import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scripts.lib.kinds.inference.tables import VARIANT, inference_runs, varying
from scripts.lib.presentation.style import COLORS, MARKERS, nothing_to_show

# What stands in a panel of its own: points of other lengths or models cannot be compared.
PANEL = ["model", "isl", "osl"]
SERIES = ["hardware", "framework", "requested_precision"]
MAX_PANELS, COLUMNS = 12, 3
MAX_LABELS = 24
# Characters of a line of the legend, which stands beside the panels; names of CPUs are long.
LABEL_WIDTH = 26
DIMMED = 0.3


def interactivity(summary: pd.DataFrame) -> Figure:
    """Throughput per GPU against tokens per second and user: up and to the right is better."""
    return _figure(summary, "intvty", "interactivity (tokens/s/user)", higher_is_better=True)


def latency(summary: pd.DataFrame) -> Figure:
    """Throughput per GPU against median end-to-end latency: up and to the left is better."""
    seconds = summary
    if "median_e2el_ms" in summary:
        seconds = summary.assign(median_e2el_s=summary["median_e2el_ms"] / 1000)
    label = "end-to-end latency (s, median)"
    return _figure(seconds, "median_e2el_s", label, higher_is_better=False)


# File name of each figure, and the function that draws it from the summary.
def frontier(xs: Sequence[float], ys: Sequence[float], higher_is_better: bool) -> list[int]:
    """Indices of the points that no other one beats on both axes, by ascending x.

    `ys` are better the higher; `higher_is_better` says so of `xs`. Of equal points all stay.
    """
    sign = 1 if higher_is_better else -1
    order = sorted(range(len(xs)), key=lambda i: (-sign * xs[i], -ys[i]))
    kept, best, best_x = [], float("-inf"), None
    for i in order:
        if ys[i] > best or (ys[i] == best and xs[i] == best_x):
            kept.append(i)
            best, best_x = ys[i], xs[i]
    return sorted(kept, key=lambda i: xs[i])


def _figure(summary: pd.DataFrame, x: str, xlabel: str, higher_is_better: bool) -> Figure:
    points = inference_runs(summary)
    points = points[points["status"] == "ok"]
    if points.empty or x not in points or points[x].isna().all():
        return nothing_to_show("No served model has been measured.")
    points = points[points[x].notna()]
    named = {
        **dict.fromkeys(SERIES, ""),
        **{key: f"{VARIANT[key].lower()} " for key in varying(points)},
    }
    series_of = list(named)
    points = points.assign(hardware=_measured_hardware(points))
    for key, name in named.items():
        points[key] = name + points[key].astype("string").fillna("none")
    names = list(dict.fromkeys(points[series_of].itertuples(index=False, name=None)))
    panels = list(points.groupby(PANEL, sort=False))
    shown = panels[:MAX_PANELS]
    columns = min(COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    figure, grid = plt.subplots(
        rows, columns, figsize=(4.4 * columns + 2.2, 3.6 * rows + 0.3), squeeze=False
    )
    for axes in grid.flat[len(shown) :]:
        axes.set_visible(False)
    for axes, (key, part) in zip(grid.flat, shown, strict=False):
        labels = _labels(part)
        for name, series in part.groupby(series_of, sort=False):
            told = labels[series.index]
            _series(axes, series, told, x, name, names.index(name), higher_is_better)
        model, isl, osl = key
        axes.set(title=f"{model}\n{isl} in, {osl} out", xlabel=xlabel)
        axes.set_xlim(0, 1.12 * part[x].max())
        axes.set_ylim(0, 1.12 * part["tput_per_gpu"].max())
    for axes in grid[:, 0]:
        axes.set_ylabel("throughput per GPU (tokens/s, in + out)")
    legend: dict[str, Any] = {}
    for axes in grid.flat:
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            legend.setdefault(name, handle)
    title = f"the first {len(shown)} of {len(panels)}" if len(panels) > len(shown) else None
    figure.legend(list(legend.values()), list(legend), title=title, loc="outside right upper")
    return figure


def _measured_hardware(points: pd.DataFrame) -> pd.Series:
    """The runner, and the device where it is known: nothing makes sure that they agree."""
    runner = points["hardware"].astype("string")
    if "device_name" not in points:
        return runner
    device = points["device_name"].astype("string").fillna("")
    return runner.where(device == "", runner + " (" + device + ")")


def _labels(points: pd.DataFrame) -> pd.Series:
    """The concurrency of each point, with what else of its server differs within a panel."""
    labels = points["conc"].astype(str)
    for key in ("tp", "ep"):
        if points[key].nunique() > 1:
            labels += f" {key}" + points[key].astype(int).astype(str)
    if points["dp_attn"].nunique() > 1:
        labels += (points["dp_attn"].astype(str) == "True").map({True: " dpa", False: ""})
    return labels


def _series(
    axes: Axes,
    points: pd.DataFrame,
    labels: Sequence[str],
    x: str,
    name: tuple[str, ...],
    rank: int,
    higher_is_better: bool,
) -> None:
    xs, ys = points[x].astype(float).tolist(), points["tput_per_gpu"].astype(float).tolist()
    best = frontier(xs, ys, higher_is_better)
    color, marker = COLORS[rank % len(COLORS)], MARKERS[rank % len(MARKERS)]
    off = [i for i in range(len(xs)) if i not in set(best)]
    axes.plot(
        [xs[i] for i in off], [ys[i] for i in off], marker, color=color, alpha=DIMMED,
    )  # fmt: skip
    axes.plot(
        [xs[i] for i in best], [ys[i] for i in best], "-", marker=marker, color=color,
        label=textwrap.fill(" ".join(name), LABEL_WIDTH),
    )  # fmt: skip
    beside = (5, 4) if higher_is_better else (6, -9)  # off the line, which falls or rises
    if len(xs) <= MAX_LABELS:
        for i, label in enumerate(labels):
            axes.annotate(
                label, (xs[i], ys[i]), beside, textcoords="offset points", fontsize=8,
                color="#44515e", alpha=1 if i in best else 0.5,
            )  # fmt: skip
