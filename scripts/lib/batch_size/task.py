"""What is probed, and what is known of its device."""

from dataclasses import dataclass

from scripts.lib.config.accuracy import AccuracyRun
from scripts.lib.config.batch_size import BatchSizeSearch
from scripts.lib.config.ddp import DdpRun
from scripts.lib.config.training import TrainingRun
from scripts.lib.devices.record import DeviceRecord

# Samples of an accuracy run among which the longest prompt is looked for, at most.
LOOKED_AT = 128


@dataclass(frozen=True)
class Task:
    """What is probed: a run with its token file on a `cpu` or `cuda` device.

    Of an accuracy run `tokens` is the `training.json` beside the embedded model, or empty.
    """

    run: TrainingRun | DdpRun | AccuracyRun
    tokens: str
    device: str

    @property
    def settings(self) -> BatchSizeSearch:
        """How the batch size is searched for."""
        return self.run.batch_size_search or BatchSizeSearch()


@dataclass(frozen=True)
class Description:
    """The device of a task, its budget in bytes and the method that imposes it.

    `unsupported` says why the device cannot do what the run asks for, or is empty.
    """

    device: DeviceRecord
    budget_bytes: float
    budget_method: str
    unsupported: str
