"""What is probed, and what is known of its device."""

from dataclasses import dataclass

from scripts.lib.batch_size.probing import Probing
from scripts.lib.devices.record import DeviceRecord
from scripts.lib.sweeps.batch_size import BatchSizeSearch
from scripts.lib.sweeps.run import ProbedRun


@dataclass(frozen=True)
class Task:
    """What is probed: a run with its data on a `cpu` or `cuda` device, by its kind's `probing`.

    `data` is the path that `Probing.data` yields.
    """

    run: ProbedRun
    data: str
    device: str
    probing: Probing

    @property
    def settings(self) -> BatchSizeSearch:
        """How the batch size is searched for."""
        return self.run.search


@dataclass(frozen=True)
class Description:
    """The device of a task, its budget in bytes and the method that imposes it.

    `unsupported` says why the device cannot do what the run asks for, or is empty.
    """

    device: DeviceRecord
    budget_bytes: float
    budget_method: str
    unsupported: str
