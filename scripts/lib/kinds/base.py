"""What a kind of measurement is: all that the rest of the program must know of it, in one object.

Everything outside a kind's folder asks such an object and never for the name of a kind. Modules
that it imports are read when the Snakefile is parsed, so none of them may import torch,
transformers or pandas; what measures and presents is imported where it is called.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any, ClassVar, Generic, TypeVar

from scripts.lib.batch_size.probing import Probing
from scripts.lib.presentation.shown import Presentation
from scripts.lib.results.reading import read_result
from scripts.lib.results.result import Result
from scripts.lib.sweeps.run import RunSettings
from scripts.lib.sweeps.run_file import read_run_of
from scripts.lib.sweeps.sweep import SweepBase

R = TypeVar("R", bound=RunSettings)
T = TypeVar("T", bound=Result)
Settings = Mapping[str, Any]


class Kind(ABC, Generic[R, T]):
    """One kind of measurement.

    `rule` is the rule whose jobs measure its runs and the program that the rule calls;
    `result_file` is the result of a run below `results/runs/{run}`. Raise `measurement_version`
    when a measurement changes its meaning: all runs of the kind are then measured again. `probing`
    is how the largest batch of a run is probed, None where the kind has no batch size to find.
    """

    name: ClassVar[str]
    rule: ClassVar[str]
    result_file: ClassVar[str]
    measurement_version: ClassVar[int]
    sweep: ClassVar[type[SweepBase]]
    run: type[R]
    result: type[T]
    presentation: ClassVar[Presentation]
    probing: Probing | None = None
    # Name of the result file in the first layout of results, where it was another.
    former_result_file: ClassVar[str | None] = None

    def problems(self, runs: Sequence[Settings]) -> Iterator[str]:
        """Yield a line, `key: what is wrong`, for each file that cannot feed the runs of a sweep.

        Called before any job starts with the resolved settings of all runs of one sweep.
        """
        yield from ()

    def input_data(self, settings: Settings) -> list[str]:
        """Return the file a run and its probes are fed with, made by a rule or the user's own."""
        return []

    def user_files(self, settings: Settings) -> list[str]:
        """Return the user's other files that a result depends on."""
        return []

    def devices(self, settings: Settings) -> tuple[str, int]:
        """Return the device that a run asks for, and how many of it."""
        return settings["device"], settings.get("ranks", 1)

    def searches(self, settings: Settings) -> bool:
        """Whether a run asks for its largest batch."""
        return settings.get("batch_size") == "auto"

    def settings_of_today(self, settings: Settings) -> dict[str, Any]:
        """Return settings that version 0.1.0 wrote with the names and values of today."""
        return dict(settings)

    def former_data(self, former: Settings, settings: Settings) -> Iterator[tuple[str, str]]:
        """Yield the path in version 0.1.0, and today's, of each thing that runs share.

        Paths are relative to the folder of results; `former` are the settings as they were.
        """
        yield from ()

    @abstractmethod
    def seed(self, run: R) -> int | None:
        """Return the seed of a run, for its provenance."""

    def result_path(self, results_dir: str | PurePath, run: str) -> str:
        """Return the path of a run's result file below a folder of results."""
        return str(PurePath(results_dir, "runs", run, self.result_file))

    def read_result(self, path: str | PurePath) -> T:
        """Read a result of this kind. Raises InputError with one line where it is none."""
        return read_result(path, self.result)

    def made_in(self, run: str, settings: Settings) -> list[str]:
        """Return the outputs, relative to the working directory, whose job measures the run."""
        return [self.result_path("results", run)]

    def forget(self, results_dir: PurePath, run: str, settings: Settings) -> None:
        """Remove what is kept of a run's measurement beside its result, so that it runs again."""

    def adopt(self, results_dir: PurePath, run: str, settings: Settings) -> None:
        """Bring what is kept beside the result of a run up to date with a result taken over."""

    def load_run(self, path: str | PurePath) -> tuple[str, R]:
        """Read `run.json` of a run of this kind: its id and its settings.

        Raises InputError where the file cannot be read, or is a run of another kind.
        """
        return read_run_of(path, {self.name: self.run})
