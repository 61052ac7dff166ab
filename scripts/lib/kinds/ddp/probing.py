"""How the largest batch of a rank of a data-parallel run is probed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scripts.lib.batch_size.probing import Probing
from scripts.lib.kinds.ddp.config import DdpRun
from scripts.lib.schema.errors import InputError
from scripts.lib.sweeps.run import BatchSizeRequest

FAMILY = ("model", "size", "vocab", "task", "precision", "dropout", "modes")


class DdpProbing(Probing[DdpRun]):
    """Probe a data-parallel run with two steps of one rank, all samples of the greatest length."""

    preload = ("scripts.lib.kinds.ddp.workload",)
    shares_host = True

    def requested(self, run: DdpRun) -> BatchSizeRequest:
        """Samples of the greatest length that a rank has memory for."""
        return run.max_local_batch

    def model(self, run: DdpRun) -> str:
        """Name of the model."""
        return run.model

    def label(self, run: DdpRun) -> str:
        """Model and length."""
        return f"{run.model} max_length={run.max_length}"

    def family(self, run: DdpRun) -> tuple[Any, ...]:
        """All that decides memory but the length."""
        return tuple(getattr(run, name) for name in FAMILY)

    def sample_length(self, run: DdpRun) -> float:
        """Tokens at which a text is cut off."""
        return run.max_length

    def ranks(self, run: DdpRun) -> int:
        """Processes of the run."""
        return run.ranks

    def scale_values(self, run: DdpRun) -> dict[str, Any]:
        """The length under the name that the tables have."""
        return run.model_dump() | {"context_length": run.max_length}

    def columns(self, run: DdpRun) -> dict[str, Any]:
        """Model, length, what is done, precision."""
        return {
            "model_size": run.model,
            "context_length": run.max_length,
            "mode": "ddp_step",
            "precision": run.precision,
        }

    @contextmanager
    def data(self, run: DdpRun, path: str | None) -> Iterator[str]:
        """Yield the meta.json of the run's text."""
        from scripts.lib.kinds.ddp.cache import open_text

        if not path:
            raise InputError("--data: must be the meta.json that scripts.prepare_text writes")
        open_text(Path(path).parent)
        yield path

    def worst_case(self, run: DdpRun, data: str) -> dict[str, int | str]:
        """Steps with the longest samples that the text has, beside the models of other modes."""
        from scripts.lib.kinds.ddp.cache import open_text

        longest = open_text(Path(data).parent).longest(run.max_length)
        return {
            "workload": "steps",
            "context_length": longest,
            "mode": "ddp_step",
            "steps": 2,
            "models": len(run.modes),
        }

    def workload(self, run: DdpRun, batch_size: int, data: str, device: Any) -> Callable[[], None]:
        """Two steps of one rank."""
        from scripts.lib.kinds.ddp.workload import ddp_step

        return ddp_step(run, batch_size, data, device)
