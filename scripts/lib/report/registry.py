"""All presentations: the overview, the searches for a largest batch, and those of the kinds."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scripts.lib.kinds.registry import KINDS
from scripts.lib.presentation.shown import Presentation, Shown

Settings = Mapping[str, Any]

OVERVIEW = Presentation(
    name="overview",
    category="Overview",
    package="scripts.lib.report.overview",
    tables=(Shown("overview", "Runs by Sweep and Status", "overview", reads="summary"),),
)
SEARCHES = Presentation(
    name="batch_size",
    category="Batch size",
    package="scripts.lib.report.searches",
    tables=(Shown("batch_size", "Largest Batch Sizes", "batch_sizes", reads="searches"),),
    figures=(
        Shown("batch_size_memory", "Memory against batch size", "probed_memory", reads="searches"),
    ),
)
PRESENTATIONS: dict[str, Presentation] = {
    presentation.name: presentation
    for presentation in (
        OVERVIEW,
        SEARCHES,
        *(kind.presentation for kind in KINDS.values()),
    )
}


def presented(runs: Sequence[Settings]) -> Iterator[Presentation]:
    """Yield the presentations of these runs with the tables and figures that apply to them."""
    for presentation in PRESENTATIONS.values():
        concerned = _concerned(presentation, runs)
        if concerned:
            yield Presentation(
                presentation.name,
                presentation.category,
                presentation.package,
                tuple(shown for shown in presentation.tables if shown.applies(concerned)),
                tuple(shown for shown in presentation.figures if shown.applies(concerned)),
            )


def tables() -> dict[str, tuple[Presentation, Shown]]:
    """Return all tables by name."""
    return {shown.name: (p, shown) for p in PRESENTATIONS.values() for shown in p.tables}


def figures() -> dict[str, tuple[Presentation, Shown]]:
    """Return all figures by name."""
    return {shown.name: (p, shown) for p in PRESENTATIONS.values() for shown in p.figures}


def _concerned(presentation: Presentation, runs: Sequence[Settings]) -> list[Settings]:
    """Runs that a presentation shows."""
    if presentation is SEARCHES:
        return [run for run in runs if KINDS[run["kind"]].searches(run)]
    if presentation is OVERVIEW:
        return list(runs)
    return [run for run in runs if run["kind"] == presentation.name]
