"""Tables and figures as data: what there is, where its function is, where the report shows it.

The workflow plans from these and the programs make what they name; neither knows them otherwise.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

Reads = Literal["rows", "results", "searches", "summary", "view"]


def always(runs: Sequence[Mapping[str, Any]]) -> bool:
    """Apply to any runs."""
    return True


@dataclass(frozen=True)
class Shown:
    """A table or a figure.

    `name` is the stem of its files and of its caption `report/{name}.rst`, `title` its heading and
    its label in the report. `function` is in the module `tables` or `figures` of the presentation's
    package and returns a data frame or a Figure. It takes what `reads` names: the `rows` of the
    kind (a data frame), its `results` or all `searches` for a batch size (lists), the `summary` of
    all kinds, or the `view` that `view(source)` in the package's module `view` returns. `applies`
    says from the settings of the runs concerned whether there is anything to show. A table shows
    the columns `first` at once and the others behind a switch; without any it shows all.
    """

    name: str
    title: str
    function: str
    reads: Reads = "rows"
    applies: Callable[[Sequence[Mapping[str, Any]]], bool] = always
    first: tuple[str, ...] = ()


@dataclass(frozen=True)
class Presentation:
    """The tables and figures of one subject, a category of the report.

    `package` is the dotted name of the package with the modules `tables` and `figures`.
    """

    name: str
    category: str
    package: str
    tables: tuple[Shown, ...] = ()
    figures: tuple[Shown, ...] = ()

    def view(self) -> Callable[[Any], Any]:
        """Return the function that makes the view of a `Source`."""
        return import_module(f"{self.package}.view").view

    def table(self, shown: Shown) -> Callable[[Any], Any]:
        """Return the function that makes a table."""
        return getattr(import_module(f"{self.package}.tables"), shown.function)

    def figure(self, shown: Shown) -> Callable[[Any], Any]:
        """Return the function that draws a figure."""
        return getattr(import_module(f"{self.package}.figures"), shown.function)
