"""What the search for the largest batch must know of a kind: one object per kind.

The search itself knows neither torch nor any kind. A kind that has a `batch_size: auto` names an
instance of its subclass of Probing as `probing`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from scripts.lib.sweeps.run import BatchSizeRequest, ProbedRun

R = TypeVar("R", bound=ProbedRun)


class Probing(ABC, Generic[R]):
    """How the largest batch of a kind's runs is probed.

    `preload` names modules that the server of probes imports before it forks. With `shares_host`
    the ranks of a run on a CPU divide the host's memory.
    """

    preload: tuple[str, ...] = ()
    shares_host = False

    @abstractmethod
    def requested(self, run: R) -> BatchSizeRequest:
        """Batch size that a run asks for: a number, `auto`, or None where it has no limit."""

    @abstractmethod
    def model(self, run: R) -> str:
        """Name of the model, with which the run's id begins."""

    @abstractmethod
    def label(self, run: R) -> str:
        """Text that names a run in progress messages."""

    @abstractmethod
    def family(self, run: R) -> tuple[Any, ...]:
        """Settings that must agree for two runs to have nearly the same line of memory."""

    def near(self, run: R) -> tuple[Any, ...]:
        """Settings that may differ within a family; a run that shares more of them is nearer."""
        return ()

    @abstractmethod
    def sample_length(self, run: R) -> float | None:
        """Length of a sample, to which its memory is proportional; None where it is unknown."""

    def ranks(self, run: R) -> int:
        """Processes that a run is measured on."""
        return 1

    def num_threads(self, run: R) -> int:
        """CPU threads of a rank; 0 takes as many as the job was given."""
        return 1

    def scale_values(self, run: R) -> Mapping[str, Any]:
        """Values that the tables of `strategy: estimate` are read with."""
        return run.model_dump()

    @abstractmethod
    def columns(self, run: R) -> dict[str, Any]:
        """Settings that a table of searches shows beside the result."""

    @contextmanager
    def data(self, run: R, path: str | None) -> Iterator[str]:
        """Yield the path of the data a probe is fed with: `path`, or what the run can do without.

        Raises InputError where the run needs a path and none is given, or it cannot be read.
        """
        yield path or ""

    @abstractmethod
    def worst_case(self, run: R, data: str) -> dict[str, int | str]:
        """Describe what a probe exercises, for the record."""

    def unsupported(self, run: R, device: Any) -> str:
        """Why this torch device cannot do what the run asks for; empty if nothing is known."""
        return ""

    @abstractmethod
    def workload(self, run: R, batch_size: int, data: str, device: Any) -> Callable[[], None]:
        """Build the run's worst case on a torch device and go through it once.

        Returns a function that goes through it again.
        """
