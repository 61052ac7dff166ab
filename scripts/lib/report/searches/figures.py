"""Figure of the searches for the largest batch: peak memory against batch size, a panel a run."""

import math
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from scripts.lib.batch_size.result import BatchSizeResult, MemoryModel
from scripts.lib.presentation.style import COLORS, nothing_to_show
from scripts.lib.report.searches.tables import searched_settings

COLUMNS = 3
# Above this a figure is for nobody to read.
MAX_PANELS = 12
# Share of the budget at which failures far above it are drawn.
HIGHEST = 1.25


def probed_memory(results: Sequence[BatchSizeResult]) -> Figure:
    """Peaks of the probes with the fitted line, the budget and the sizes that did not fit."""
    probed = [result for result in results if result.probes and result.budget_mib]
    if not probed:
        return nothing_to_show("No search for the largest batch has probed anything.")
    shown = probed[:MAX_PANELS]
    columns = min(COLUMNS, len(shown))
    rows = math.ceil(len(shown) / columns)
    figure, grid = plt.subplots(
        rows, columns, figsize=(3.3 * columns + 1.8, 2.8 * rows + 0.3), squeeze=False
    )
    for axes, result in zip(grid.flat, shown, strict=False):
        _panel(axes, result)
    for axes in grid.flat[len(shown) :]:
        axes.set_visible(False)
    for axes in grid[:, 0]:
        axes.set_ylabel("peak memory (MiB)")
    for index, axes in enumerate(grid.flat[: len(shown)]):
        if index + columns >= len(shown):
            axes.set_xlabel("batch size")
    legend: dict[str, Any] = {}
    for axes in grid.flat:
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            legend.setdefault(name, handle)
    title = f"the first {len(shown)} of {len(probed)}" if len(probed) > len(shown) else None
    figure.legend(list(legend.values()), list(legend), title=title, loc="outside right upper")
    return figure


def _panel(axes: Axes, result: BatchSizeResult) -> None:
    settings, line = searched_settings(result), result.memory_model
    sizes = [probe.batch_size for probe in result.probes]
    right = 1.06 * max(sizes)
    if line:
        axes.plot(
            [0, right],
            [_at(line, 0), _at(line, right)],
            color=COLORS[0], linewidth=1, alpha=0.6, label="fitted line",
        )  # fmt: skip
    axes.axhline(result.budget_mib, color="#555555", linestyle="--", linewidth=1.2, label="budget")
    fits = [probe for probe in result.probes if probe.outcome == "ok"]
    axes.plot(
        [probe.batch_size for probe in fits], [probe.peak_memory_mib for probe in fits],
        "o", color=COLORS[0], label="fits",
    )  # fmt: skip
    fails = [
        size for probe, size in zip(result.probes, sizes, strict=True) if probe.outcome != "ok"
    ]
    # A failure has no peak: it stands where the line expects it, at the budget or a little above.
    expected = [
        max(result.budget_mib, min(_at(line, size), HIGHEST * result.budget_mib)) for size in fails
    ]
    axes.plot(fails, expected, "X", color=COLORS[1], markersize=7, label="does not fit")
    found = f"largest {result.batch_size}" if result.batch_size else "nothing fits"
    note = "" if result.certified else ", not certified"
    point = settings.get("knobs") or f"context {settings.get('context_length')}"
    title = f"{settings['model_size']}, {point}\n{settings['mode']}, {settings['precision']}"
    axes.set_title(f"{title}: {found}{note}", fontsize=9)
    axes.set_xlim(0, right)
    axes.set_ylim(0, 1.1 * max([result.budget_mib, *expected]))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))


def _at(line: MemoryModel | None, size: float) -> float:
    return line.intercept_mib + line.slope_mib * size if line else 0.0
