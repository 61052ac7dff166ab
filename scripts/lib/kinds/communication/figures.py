"""Figures of communication runs: bandwidth and time over the message size."""

from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from scripts.lib.kinds.communication.bandwidth import MIB, bus_factor
from scripts.lib.presentation.style import COLORS, LINES, MARKERS, nothing_to_show

COLUMNS = 3
# Colours, markers and lines repeat after these, and two series would look the same.
MAX_SERIES = len(COLORS)


def bandwidth(rows: pd.DataFrame) -> Figure:
    """Bus bandwidth against message size with its 95 % interval."""

    def draw(axes: Axes, series: pd.DataFrame, style: dict) -> None:
        size, value = series["message_bytes"], series["bus_bandwidth_gb_per_s"]
        factor = bus_factor(series["operation"].iloc[0], int(series["ranks"].iloc[0]))
        ends = [
            size / series[f"median_time_ci_{end}_us"] / 1000 * factor for end in ("high", "low")
        ]
        low, high = (value - ends[0]).fillna(0), (ends[1] - value).fillna(0)
        axes.errorbar(size, value, yerr=[low.clip(lower=0), high.clip(lower=0)], **style)

    return _panels(rows, "bus bandwidth (GB/s)", draw)


def time(rows: pd.DataFrame) -> Figure:
    """Median time against message size, with the fitted line alpha + beta n."""

    def draw(axes: Axes, series: pd.DataFrame, style: dict) -> None:
        size, median = series["message_bytes"], series["median_time_us"]
        low = (median - series["median_time_ci_low_us"]).fillna(0)
        high = (series["median_time_ci_high_us"] - median).fillna(0)
        axes.errorbar(size, median, yerr=[low, high], **(style | {"linestyle": "none"}))
        if series["alpha_us"].notna().all():
            first = series.iloc[0]
            sizes = np.geomspace(size.min(), size.max(), 200)
            fit = first["alpha_us"] + first["beta_us_per_mib"] * sizes / MIB
            axes.plot(sizes, fit, color=style["color"], linestyle=style["linestyle"], alpha=0.6)

    return _panels(rows, "median time per operation (µs)", draw)


def _panels(
    rows: pd.DataFrame, ylabel: str, draw: Callable[[Axes, pd.DataFrame, dict], None]
) -> Figure:
    """Draw every run as a series, one panel per operation."""
    if "median_time_us" not in rows or rows["median_time_us"].isna().all():
        return nothing_to_show("No communication run has finished.")
    rows = rows[rows["median_time_us"].notna()]
    operations = list(dict.fromkeys(rows["operation"]))
    columns = min(COLUMNS, len(operations))
    lines = -(-len(operations) // columns)
    figure, grid = plt.subplots(
        lines, columns, figsize=(3.8 * columns + 2.4, 3.4 * lines), squeeze=False
    )
    labels = {run: _label(part, rows) for run, part in rows.groupby("run", sort=False)}
    distinct = list(dict.fromkeys(labels.values()))
    names = distinct[:MAX_SERIES]
    legend: dict[str, Any] = {}
    for axes in grid.flat[len(operations) :]:
        axes.set_visible(False)
    for axes, operation in zip(grid.flat, operations, strict=False):
        of_operation = rows[rows["operation"] == operation]
        for run, series in of_operation.groupby("run", sort=False):
            if labels[run] in names:
                number = names.index(labels[run])
                draw(axes, series.sort_values("message_bytes"), _style(number, labels[run]))
        _format(axes, operation)
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            legend.setdefault(name, handle)
    for axes in grid[:, 0]:
        axes.set_ylabel(ylabel)
    if len(distinct) > MAX_SERIES:
        figure.suptitle(f"the first {MAX_SERIES} of {len(distinct)} series", fontsize=9)
    figure.legend(list(legend.values()), list(legend), loc="outside right upper")
    return figure


def _style(number: int, label: str) -> dict:
    return {
        "color": COLORS[number % len(COLORS)],
        "marker": MARKERS[number % len(MARKERS)],
        "linestyle": LINES[number % len(LINES)],
        "label": label,
    }


def _label(series: pd.DataFrame, rows: pd.DataFrame) -> str:
    """Name of a series: its ranks, and what else tells the runs apart."""
    first = series.iloc[0]
    parts = [f"{first['ranks']} ranks"]
    for name in ("dtype", "backend", "device_name"):
        if name in rows and rows[name].nunique() > 1:
            parts.append(str(first[name]))
    return ", ".join(parts)


def _format(axes: Axes, operation: str) -> None:
    axes.set(title=operation, xlabel="message size", xscale="log", yscale="log")
    axes.xaxis.set_major_locator(LogLocator(base=4, numticks=8))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda size, _: _bytes(size)))
    axes.xaxis.set_minor_locator(NullLocator())  # its decades fall between powers of 4
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="x", labelrotation=45)


def _bytes(size: float) -> str:
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= factor:
            return f"{size / factor:g} {unit}"
    return f"{size:g} B"
