"""Figures of training runs: along the context length, a panel a mode, a colour a size."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from scripts.lib.kinds.training.tables import finished, varying
from scripts.lib.presentation.style import COLORS, LINES, MARKERS, nothing_to_show

MODES = {
    "forward": "forward",
    "forward_backward": "forward + backward",
    "training_step": "training step",
}
PARTS = {
    "median_forward_time_ms": "forward",
    "median_backward_time_ms": "backward",
    "median_optimizer_time_ms": "optimiser",
}
# How a variant is written; other settings are written as `name value`.
NAMES = {
    "requested_precision": "{}",
    "requested_attn_implementation": "{}",
    "requested_compile": "compile={}",
    "requested_num_threads": "{} threads",
    "requested_batch_size": "batch {}",
    "memory_budget_mib": "budget {} MiB",
    "data_path": "{}",
    "num_steps": "{} steps",
    "device": "{}",
}
# Above these a figure is for nobody to read.
MAX_BARS = 40
MAX_NAMES = 20


@dataclass(frozen=True)
class Series:
    """One line of a panel: a size and what else tells its runs apart."""

    size: str
    variant: str
    color: str
    line: str
    marker: str
    runs: pd.DataFrame


def time(summary: pd.DataFrame) -> Figure:
    """Median time of a step with its 95 % interval."""

    def draw(axes: Axes, series: Series) -> None:
        runs = series.runs
        low = (runs["median_step_time_ms"] - runs["median_step_time_ci_low_ms"]).fillna(0)
        high = (runs["median_step_time_ci_high_ms"] - runs["median_step_time_ms"]).fillna(0)
        _line(axes, series, "median_step_time_ms", yerr=[low.astype(float), high.astype(float)])

    return _panels(summary, "ms per step (median, 95 % interval)", draw)


def throughput(summary: pd.DataFrame) -> Figure:
    """Tokens per second at the median time, with the interval of the time carried over."""

    def draw(axes: Axes, series: Series) -> None:
        runs = series.runs
        tokens = runs["tokens_per_s"] * runs["median_step_time_ms"]
        low = (runs["tokens_per_s"] - tokens / runs["median_step_time_ci_high_ms"]).fillna(0)
        high = (tokens / runs["median_step_time_ci_low_ms"] - runs["tokens_per_s"]).fillna(0)
        _line(axes, series, "tokens_per_s", yerr=[low.astype(float), high.astype(float)])

    return _panels(summary, "tokens/s", draw)


def memory(summary: pd.DataFrame) -> Figure:
    """Peak memory of a step; a thin line where memory was budgeted."""

    def draw(axes: Axes, series: Series) -> None:
        _line(axes, series, "peak_memory_mib")
        for budget in filter(None, series.runs["memory_budget_mib"].unique()):
            axes.axhline(float(budget), color="#8895a3", linewidth=1, linestyle=(0, (4, 3)))
            axes.annotate(
                f"budget {budget} MiB", (0.01, float(budget)), (0, 3), color="#5b6875",
                xycoords=("axes fraction", "data"), textcoords="offset points", fontsize=8,
            )  # fmt: skip

    return _panels(summary, "peak memory (MiB)", draw)


def utilisation(summary: pd.DataFrame) -> Figure:
    """Model FLOPs utilisation; the achieved rate where the device's peak is not known."""
    runs = summary[(summary["kind"] == "training") & (summary["status"] == "ok")]
    if len(runs) and runs["mfu"].notna().any():
        percent = summary.assign(mfu=summary["mfu"] * 100)
        return _panels(
            percent, "MFU (% of the device's peak)", lambda axes, s: _line(axes, s, "mfu")
        )
    label = "model TFLOP/s (the device's peak is not known)"
    return _panels(summary, label, lambda axes, s: _line(axes, s, "tflops_per_s"))


def breakdown(summary: pd.DataFrame) -> Figure:
    """Share of forward, backward and optimiser in the time of a step, each timed apart."""
    runs = _finished(summary)
    runs = runs[runs["median_backward_time_ms"].notna()]
    if runs.empty:
        return nothing_to_show("No finished run has a backward pass to break down.")
    if len(runs) > MAX_BARS:
        # A bar a run does not scale; the longest contexts say most.
        runs = runs.loc[runs["context_length"].nlargest(MAX_BARS).index.sort_values()]
        runs = _finished(runs)
    names = varying(runs)
    labels = [
        " ".join(
            filter(None, [str(run.model_size), f"ctx {run.context_length}", _variant(run, names)])
        )
        for run in runs.itertuples()
    ]
    panels = [mode for mode in MODES if (runs["mode"] == mode).any()]
    counts = [(runs["mode"] == mode).sum() for mode in panels]
    figure, grid = plt.subplots(
        len(panels), 1, figsize=(8.5, 1.3 + 0.34 * sum(counts) + 0.5 * len(panels)),
        squeeze=False, gridspec_kw={"height_ratios": counts},
    )  # fmt: skip
    for axes, mode in zip(grid[:, 0], panels, strict=True):
        chosen = (runs["mode"] == mode).to_numpy()
        part = runs[chosen]
        names = [label for label, keep in zip(labels, chosen, strict=True) if keep]
        left = pd.Series(0.0, index=part.index)
        total = part[list(PARTS)].astype("Float64").fillna(0).sum(axis=1)
        for color, (column, name) in zip(COLORS, PARTS.items(), strict=False):
            width = (part[column].fillna(0) / total * 100).astype(float)
            axes.barh(range(len(part)), width, left=left, color=color, height=0.72, label=name)
            left += width
        for row, milliseconds in enumerate(total):
            axes.annotate(
                f"{milliseconds:.3g} ms", (100, row), (4, 0), va="center", fontsize=8,
                color="#44515e", textcoords="offset points",
            )  # fmt: skip
        axes.set_yticks(range(len(part)), names)
        axes.invert_yaxis()
        axes.set(title=MODES[mode], xlim=(0, 100))
        axes.grid(visible=False, axis="y")
    grid[-1, 0].set_xlabel("% of the step's parts")
    handles, names = grid[-1, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper right", ncols=len(PARTS))
    return figure


# File name of each figure, and the function that draws it from the summary.
def _panels(summary: pd.DataFrame, ylabel: str, draw: Callable[[Axes, Series], None]) -> Figure:
    """Draw every series, a panel a mode, on log axes with the context length below."""
    runs = _finished(summary)
    if runs.empty:
        return nothing_to_show("No training run has finished.")
    panels = [mode for mode in MODES if (runs["mode"] == mode).any()]
    figure, grid = plt.subplots(
        1, len(panels), figsize=(3.6 * len(panels) + 2.4, 3.9), sharey=True, squeeze=False
    )
    legend: dict[str, Any] = {}
    for axes, mode in zip(grid[0], panels, strict=True):
        for series in _series(runs, mode):
            draw(axes, series)
        axes.set(title=MODES[mode], xlabel="context length (tokens)", xscale="log", yscale="log")
        axes.xaxis.set_major_locator(FixedLocator(sorted(runs["context_length"].unique())))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.0f}"))
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,.6g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.margins(x=0.12, y=0.12)
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            legend.setdefault(name, handle)
    grid[0, 0].set_ylabel(ylabel)
    shown = dict(list(legend.items())[:MAX_NAMES])
    title = f"the first {MAX_NAMES} of {len(legend)}" if len(legend) > MAX_NAMES else None
    figure.legend(list(shown.values()), list(shown), title=title, loc="outside right upper")
    return figure


def _line(axes: Axes, series: Series, column: str, yerr: list | None = None) -> None:
    runs = series.runs[series.runs[column].notna()]
    if runs.empty:
        return
    axes.errorbar(
        runs["context_length"].astype(float),
        runs[column].astype(float),
        yerr=yerr,
        color=series.color,
        linestyle=series.line,
        marker=series.marker,
        label=" ".join(filter(None, [series.size, series.variant])),
    )


def _series(runs: pd.DataFrame, mode: str) -> list[Series]:
    """Series of one mode; colours, lines and markers mean the same in every panel."""
    sizes = list(dict.fromkeys(runs["model_size"]))
    names = varying(runs)
    variants = list(dict.fromkeys(_variant(run, names) for run in runs.itertuples()))
    of_mode = runs[runs["mode"] == mode]
    series = []
    for size in sizes:
        of_size = of_mode[of_mode["model_size"] == size]
        named = [_variant(run, names) for run in of_size.itertuples()]
        for rank, variant in enumerate(variants):
            part = of_size[[name == variant for name in named]].sort_values("context_length")
            if len(part):
                color = COLORS[sizes.index(size) % len(COLORS)]
                line, marker = LINES[rank % len(LINES)], MARKERS[rank % len(MARKERS)]
                series.append(Series(size, variant, color, line, marker, part))
    return series


def _finished(summary: pd.DataFrame) -> pd.DataFrame:
    """Finished training runs, the smallest model first."""
    return finished(summary).sort_values(["num_parameters", "context_length"], kind="stable")


def _variant(run: tuple, names: list[str]) -> str:
    given = ((name, getattr(run, name)) for name in names)
    return ", ".join(
        NAMES.get(name, f"{name} {{}}").format(value) for name, value in given if value != ""
    )
