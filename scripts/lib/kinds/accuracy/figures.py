"""Figures of accuracy sweeps: knobs, Pareto sets, importance, answers, the embedded training."""

import base64
import io
import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from PIL import Image

from scripts.lib.kinds.accuracy.comparison import Compared
from scripts.lib.kinds.accuracy.measurement import KNOBS
from scripts.lib.kinds.accuracy.result import AccuracyResult
from scripts.lib.kinds.accuracy.view import View
from scripts.lib.presentation.style import COLORS, LINES, MARKERS, nothing_to_show

NAMES = {"max_crops": "crops of an image (at most)", "top_k": "experts of a token",
         "num_active_blocks": "active blocks"}  # fmt: skip
NOTHING = "No point of an accuracy sweep has finished."
ALL_DIFFER = "No point differs from the reference in one knob alone: see the Pareto figure."
# Above these a figure is for nobody to read.
MAX_SERIES, MAX_IMAGES, MAX_POINTS, MAX_CURVES = 8, 4, 6, 4
SMOOTHED = 60


def knobs(view: View) -> Figure:
    """Accuracy with its interval along each knob, the others at the reference."""
    series = _series(view.points)
    shown = [knob for knob in KNOBS if any(key[0] == knob for key in series)]
    if not shown:
        done = any(point.result.metrics for point in view.points)
        return nothing_to_show(ALL_DIFFER if done else NOTHING)
    figure, grid = plt.subplots(
        1, len(shown), figsize=(3.3 * len(shown) + 1.8, 3.6), sharey=True, squeeze=False
    )
    names = list(dict.fromkeys(key[1] for key in series))[:MAX_SERIES]
    for axes, knob in zip(grid[0], shown, strict=True):
        for number, name in enumerate(names):
            if points := series.get((knob, name)):
                _curve(axes, knob, points, number, name)
        axes.set(xlabel=NAMES[knob], ylim=(0, 1.02))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    grid[0, 0].set_ylabel("accuracy")
    _legend(figure, grid.flat)
    return figure


def pareto(view: View) -> Figure:
    """Accuracy against FLOPs and against latency; a line through what nothing beats."""
    points = [point for point in view.points if point.result.metrics]
    if not points:
        return nothing_to_show(NOTHING)
    figure, grid = plt.subplots(1, 2, figsize=(9.4, 3.9), sharey=True)
    sweeps = list(dict.fromkeys(point.sweep for point in points))[:MAX_SERIES]
    costs = (
        ("flops_per_sample", "pareto_flops", 1e-6, "MFLOPs of a sample"),
        ("mean_latency_per_sample_ms", "pareto_latency", 1, "ms of a sample, measured"),
    )
    for axes, (cost, flag, scale, label) in zip(grid, costs, strict=True):
        for number, sweep in enumerate(sweeps):
            of_sweep = [point for point in points if point.sweep == sweep]
            places = [(getattr(p.result.metrics, cost) * scale, p.result.metrics.accuracy)
                      for p in of_sweep]  # fmt: skip
            style = {"color": COLORS[number], "marker": MARKERS[number], "linestyle": "none"}
            axes.plot(*zip(*places, strict=True), alpha=0.45, label=sweep, **style)
            front = sorted(at for at, p in zip(places, of_sweep, strict=True) if getattr(p, flag))
            axes.plot(*zip(*front, strict=True), color=COLORS[number], linestyle=LINES[0],
                      marker=MARKERS[number], label=f"{sweep}: not beaten")  # fmt: skip
        axes.set(xlabel=label, ylim=(0, 1.02), xscale="log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    grid[0].set_ylabel("accuracy")
    _legend(figure, grid)
    return figure


def importance(view: View) -> Figure:
    """Accuracy that leaving out each block costs."""
    shown = view.importances[:MAX_CURVES]
    if not shown:
        return nothing_to_show("The importance of blocks was not measured.")
    figure, grid = plt.subplots(len(shown), 1, figsize=(6.4, 2.9 * len(shown) + 0.3), squeeze=False)
    for axes, found in zip(grid[:, 0], shown, strict=True):
        lost = [found.accuracy - without for without in found.accuracy_without]
        places = np.arange(len(lost))
        bars = axes.bar(places, lost, color=COLORS[0], width=0.7)
        if len(lost) <= 32:
            axes.bar_label(bars, fmt="%.2f", fontsize=8, color="#44515e", padding=2)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.axhline(0, color="#8895a3", linewidth=1)
        axes.margins(y=0.14)
        axes.set(xlabel="block left out", ylabel="accuracy lost")
        axes.set_title(f"{found.model}: {found.accuracy:.3f} with all blocks, "
                       f"{found.samples_evaluated} samples", fontsize=9)  # fmt: skip
        axes.grid(visible=False, axis="x")
    return figure


def samples(view: View) -> Figure:
    """The first images with what was answered at the reference and at some other points."""
    first = next((p.result for p in view.points if p.result.metrics), None)
    if first is None or not first.metrics.example_images:
        return nothing_to_show("No finished point has images.")
    images = [Image.open(io.BytesIO(base64.b64decode(text)))
              for text in first.metrics.example_images[:MAX_IMAGES]]  # fmt: skip
    points = _spread([p for p in view.points if p.result.metrics
                      and p.sweep == view.points[0].sweep
                      and p.result.settings.model == first.settings.model])  # fmt: skip
    figure, grid = plt.subplots(
        2, len(images), figsize=(3.4 * len(images), 3.6 + 0.17 * len(points)), squeeze=False,
        gridspec_kw={"height_ratios": [3.2, 0.4 + 0.17 * len(points)]},
    )  # fmt: skip
    for column, image in enumerate(images):
        sample = first.metrics.samples[column]
        grid[0, column].imshow(image, interpolation="nearest")
        title = textwrap.shorten(sample.question, 70, placeholder="...")
        grid[0, column].set_title("\n".join(textwrap.wrap(title, 34)), fontsize=9)
        grid[0, column].axis("off")
        grid[1, column].axis("off")
        lines = [f"answer: {_short(sample.answers[0])}"]
        lines += [f"{_label(p.result)}: {_short(p.result.metrics.samples[column].prediction)}"
                  for p in points]  # fmt: skip
        grid[1, column].text(0, 1, "\n".join(lines), va="top", fontsize=8, family="monospace",
                             transform=grid[1, column].transAxes)  # fmt: skip
    return figure


def training(view: View) -> Figure:
    """Loss and held-out accuracy of the embedded model along its training."""
    if not view.curves:
        return nothing_to_show("No embedded model was trained.")
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6))
    for number, rows in enumerate(view.curves[:MAX_CURVES]):
        steps, color = np.arange(len(rows)), COLORS[number]
        loss = np.array([float(row["loss"]) for row in rows])
        window = max(1, len(rows) // SMOOTHED)
        starts = range(0, len(rows), window)
        left.plot([s + window / 2 for s in starts],
                  [loss[s : s + window].mean() for s in starts], color=color)  # fmt: skip
        began = next((i for i, row in enumerate(rows) if row["phase"] == "whole"), 0)
        left.axvline(began, color=color, linewidth=1, linestyle=(0, (4, 3)))
        for column, line, marker, name in (
            ("accuracy", "-", "o", "all crops"),
            ("accuracy_one_crop", "--", "s", "one crop"),
        ):
            found = [(step, float(row[column])) for step, row in zip(steps, rows, strict=True)
                     if row[column]]  # fmt: skip
            if found:
                right.plot(*zip(*found, strict=True), color=color, linestyle=line, marker=marker,
                           label=name if number == 0 else None)  # fmt: skip
    left.set(xlabel="step", ylabel="loss", yscale="log")
    right.set(xlabel="step", ylabel="digits right, given those before", ylim=(0, 1.02))
    right.legend(loc="lower right")
    return figure


def _series(points: Sequence[Compared]) -> dict[tuple[str, str], list[AccuracyResult]]:
    """Finished points that differ from their reference in one knob, by knob and what they share."""
    references = {(p.sweep, p.result.settings.model): p.result for p in points if p.is_reference}
    names = {(p.sweep, p.result.settings.model) for p in points}
    found: dict[tuple[str, str], list[AccuracyResult]] = {}
    for point in points:
        settings = point.result.settings
        reference = references[(point.sweep, settings.model)]
        turned = [knob for knob in KNOBS
                  if getattr(settings, knob) != getattr(reference.settings, knob)]  # fmt: skip
        if not point.result.metrics or len(turned) != 1:
            continue
        parts = [point.sweep, settings.model] if len(names) > 1 else [settings.model]
        if turned[0] == "num_active_blocks" and settings.block_selection != "prefix":
            selection = settings.block_selection
            parts.append("list" if isinstance(selection, list) else str(selection))
        series = found.setdefault((turned[0], ", ".join(parts)), [])
        if not series and reference.metrics:
            series.append(reference)
        series.append(point.result)
    # A stray point of a combined sweep is no curve where others are.
    longest = {knob: max(len(r) for k, r in found.items() if k[0] == knob) for knob, _ in found}
    return {key: r for key, r in found.items() if len(r) > 2 or longest[key[0]] <= 2}


def _curve(axes: Axes, knob: str, results: list[AccuracyResult], number: int, name: str) -> None:
    actual = {"top_k": "actual_top_k", "num_active_blocks": "actual_num_active_blocks"}

    def place(result: AccuracyResult) -> int:
        asked = getattr(result.settings, knob)
        return asked or getattr(result.metrics, actual.get(knob, "actual_max_crops")) or 0

    ordered = sorted(results, key=place)
    values = np.array([result.metrics.accuracy for result in ordered])
    low = values - [result.metrics.accuracy_ci_low for result in ordered]
    high = np.array([result.metrics.accuracy_ci_high for result in ordered]) - values
    axes.errorbar(
        [place(result) for result in ordered], values, yerr=[low.clip(0), high.clip(0)],
        color=COLORS[number], linestyle=LINES[number % len(LINES)], label=name,
        marker=MARKERS[number % len(MARKERS)],
    )  # fmt: skip


def _spread(points: list[Compared]) -> list[Compared]:
    """The reference and a few others, from the best to the worst."""
    rest = sorted((p for p in points if not p.is_reference and not p.alias_of),
                  key=lambda p: -p.result.metrics.accuracy)  # fmt: skip
    chosen = np.unique(np.linspace(0, len(rest) - 1, MAX_POINTS).round().astype(int))
    return [p for p in points if p.is_reference][:1] + [rest[i] for i in chosen if rest]


def _label(result: AccuracyResult) -> str:
    short = {"max_crops": "crops", "top_k": "k", "num_active_blocks": "blocks"}
    parts = [f"{short[knob]}{value}" for knob in KNOBS
             if (value := getattr(result.settings, knob)) is not None]  # fmt: skip
    selection = result.settings.block_selection
    return " ".join([*parts, *(["imp"] if selection == "importance" else [])]) or "reference"


def _short(text: str) -> str:
    return textwrap.shorten(text, 24, placeholder="...")


def _legend(figure: Figure, grid: Any) -> None:
    named: dict[str, Any] = {}
    for axes in grid:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            named.setdefault(label, handle)
    if len(named) > 1:
        figure.legend(list(named.values()), list(named), loc="outside right upper")
