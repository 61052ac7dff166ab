"""Figures of data-parallel runs: a panel a run, a colour a mode."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from scripts.lib.kinds.ddp.result import DdpResult, SeedMetrics
from scripts.lib.presentation.style import COLORS, LINES, nothing_to_show, save, use_style

MODES = ("static", "dynamic", "sorted")
COLOR = dict(zip(MODES, COLORS, strict=False))
LINE = dict(zip(MODES, LINES, strict=False))
COLUMNS = 3
# Above this a figure is for nobody to read.
MAX_PANELS = 12
MAX_BARS = 64
# Curves are smoothed to about so many points.
POINTS = 40


def step_time(results: Sequence[DdpResult]) -> Figure:
    """Share of steps that took at most so long, slowest rank."""

    def draw(axes: Axes, result: DdpResult) -> None:
        for mode, seeds in _modes(result):
            warmup = result.settings.warmup_steps
            times = np.sort(np.concatenate([seed.step_time_ms[warmup:] for seed in seeds]))
            share = np.arange(1, len(times) + 1) / len(times) * 100
            axes.step(
                times, share, where="post", color=COLOR[mode], linestyle=LINE[mode], label=mode
            )
        axes.set(xlabel="ms per step (slowest rank)", xlim=(0, None), ylim=(0, 101))

    return _panels(results, "% of the steps", draw)


def imbalance(results: Sequence[DdpResult]) -> Figure:
    """Largest over mean time of computing along the steps."""

    def draw(axes: Axes, result: DdpResult) -> None:
        for mode, seeds in _modes(result):
            values = np.concatenate([[seed.imbalance] for seed in seeds])
            _curve(axes, mode, values, np.median)
        axes.axhline(1, color="#8895a3", linewidth=1, linestyle=(0, (4, 3)))
        axes.set(xlabel="step")

    return _panels(results, "largest / mean time of computing", draw)


def padding(results: Sequence[DdpResult]) -> Figure:
    """Share of padding of each mode."""

    def draw(axes: Axes, result: DdpResult) -> None:
        names = [mode for mode, _ in _modes(result)]
        shares = [result.metrics.mode(mode).padding_share * 100 for mode in names]
        bars = axes.bar(names, shares, color=[COLOR[mode] for mode in names], width=0.6)
        axes.bar_label(bars, fmt="%.0f", fontsize=8, color="#44515e", padding=2)
        axes.grid(visible=False, axis="x")

    return _panels(results, "% of all tokens that are padding", draw, legend=False)


def loss(results: Sequence[DdpResult]) -> Figure:
    """Training loss of the modes on one axis, first seed."""

    def draw(axes: Axes, result: DdpResult) -> None:
        for mode, seeds in _modes(result):
            _curve(axes, mode, np.array([seeds[0].loss]), np.mean)
        axes.set(xlabel="step")

    return _panels(results, "loss (mean over the global batch)", draw)


def wait(results: Sequence[DdpResult]) -> Figure:
    """Share of a step that each rank waits."""

    def draw(axes: Axes, result: DdpResult) -> None:
        modes = _modes(result)
        ranks = np.arange(result.settings.ranks)
        width = 0.8 / len(modes)
        for number, (mode, seeds) in enumerate(modes):
            shares = np.mean([seed.wait_share for seed in seeds], axis=0) * 100
            place = ranks + (number - (len(modes) - 1) / 2) * width
            axes.bar(place, shares, width=width * 0.92, color=COLOR[mode], label=mode)
        if len(ranks) <= 16:
            axes.set_xticks(ranks)
        axes.set(xlabel="rank")
        axes.grid(visible=False, axis="x")

    return _panels(results, "% of the time spent waiting", draw)


def lengths(results: Sequence[DdpResult]) -> Figure:
    """Histogram of the tokens of the samples; runs with the same text share a panel."""

    def draw(axes: Axes, result: DdpResult) -> None:
        metrics = result.metrics
        counts = np.array(metrics.length_counts)
        # Whole numbers of tokens in every bar, or bars would differ by how many they hold.
        edges = np.arange(0, len(counts) + 1, -(-len(counts) // MAX_BARS)) - 0.5
        edges = np.append(edges, 2 * edges[-1] - edges[-2])
        axes.hist(np.arange(len(counts)), bins=edges, weights=counts, color=COLORS[0])
        for name, style in (("median", "--"), ("p90", ":"), ("p99", "-.")):
            value = getattr(metrics, f"{name}_sample_length")
            inside = value > 0.7 * len(counts)  # or the label would leave the panel
            axes.axvline(value, color="#44515e", linewidth=1, linestyle=style)
            axes.annotate(
                f"{name} {value:.0f}", (value, 0.97 - 0.08 * ["median", "p90", "p99"].index(name)),
                (-3 if inside else 3, 0), xycoords=("data", "axes fraction"),
                textcoords="offset points", fontsize=8, color="#44515e", va="top",
                ha="right" if inside else "left",
            )  # fmt: skip
        axes.set(xlabel="tokens of a sample")

    def title(result: DdpResult) -> str:
        return f"{_text(result)}, length {result.settings.max_length}"

    distinct = {title(result): result for result in reversed(_finished(results))}
    shown = list(distinct.values())[::-1]
    return _panels(shown, "samples", draw, legend=False, title=title)


# File name of each figure, and the function that draws it from the results.
def draw(results: Sequence[DdpResult], folder: str | Path) -> list[str]:
    """Write all figures of `results` into a folder; returns their paths."""
    use_style()
    figures = (step_time, imbalance, padding, loss, wait, lengths)
    return [
        path
        for figure in figures
        for path in save(figure(results), Path(folder, f"ddp_{figure.__name__}"))
    ]


def _finished(results: Sequence[DdpResult]) -> list[DdpResult]:
    return [result for result in results if result.metrics]


def _modes(result: DdpResult) -> list[tuple[str, list[SeedMetrics]]]:
    found = {metrics.mode: metrics.seeds for metrics in result.metrics.modes}
    return [(mode, found[mode]) for mode in MODES if mode in found]


def _curve(axes: Axes, mode: str, values: np.ndarray, middle: Callable[..., np.ndarray]) -> None:
    """Draw values of shape (seeds, steps), each point the middle of a window of steps."""
    window = max(1, -(-values.shape[1] // POINTS))
    starts = np.arange(0, values.shape[1], window)
    points = [middle(values[:, start : start + window]) for start in starts]
    places = [min(start + (window - 1) / 2, values.shape[1] - 1) for start in starts]
    axes.plot(places, points, color=COLOR[mode], linestyle=LINE[mode], label=mode)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _panels(
    results: Sequence[DdpResult],
    ylabel: str,
    draw: Callable[[Axes, DdpResult], None],
    legend: bool = True,
    title: Callable[[DdpResult], str] | None = None,
) -> Figure:
    finished = _finished(results)
    if not finished:
        return nothing_to_show("No data-parallel run has finished.")
    shown = finished[:MAX_PANELS]
    columns = min(COLUMNS, len(shown))
    rows = math.ceil(len(shown) / columns)
    figure, grid = plt.subplots(
        rows, columns, figsize=(max(3.6 * columns, 5) + 1.3 * legend, 3.2 * rows), squeeze=False
    )
    for axes in grid.flat[len(shown) :]:
        axes.axis("off")
    names = [title(result) for result in shown] if title else _names(shown)
    for axes, result, name in zip(grid.flat, shown, names, strict=False):
        draw(axes, result)
        axes.set_title(name, fontsize=9)
    for axes in grid[:, 0]:
        axes.set_ylabel(ylabel)
    if len(finished) > MAX_PANELS:
        figure.suptitle(f"the first {MAX_PANELS} of {len(finished)} runs", fontsize=9)
    if legend:
        named: dict[str, Any] = {}
        for axes in grid.flat:
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
                named.setdefault(label, handle)
        figure.legend(list(named.values()), list(named), loc="outside right upper")
    return figure


def _names(results: Sequence[DdpResult]) -> list[str]:
    """Titles of panels: the point of each run, and in what runs of the same point differ."""
    names = [_name(result) for result in results]
    settings = [result.settings.model_dump() for result in results]
    titles = []
    for name, own, result in zip(names, settings, results, strict=True):
        alike = [other for title, other in zip(names, settings, strict=True) if title == name]
        differing = [key for key in own if any(other[key] != own[key] for other in alike)]
        told = [
            f"{key} {_text(result)}" if key == "dataset" else f"{key} {own[key]}"
            for key in differing
            if not isinstance(own[key], dict) or key == "dataset"
        ]
        titles.append("\n".join([name, ", ".join(told)]).strip())
    return titles


def _name(result: DdpResult) -> str:
    run = result.settings
    return (
        f"{run.model}, G={run.ranks}, B={run.global_batch}, length {run.max_length}, "
        f"{run.cost_type}"
    )


def _text(result: DdpResult) -> str:
    dataset = result.settings.dataset
    files = dataset.data_files
    return files[0].rpartition("/")[2] if files else dataset.path
