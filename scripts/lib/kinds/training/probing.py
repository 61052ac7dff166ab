"""How the largest batch of a training run is probed: whole steps, or a generation."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any

from scripts.lib.batch_size.probing import Probing
from scripts.lib.kinds.training.config import TrainingRun
from scripts.lib.sweeps.run import BatchSizeRequest

# Settings that do not decide the line of memory: labels, the length that scales it, and how often
# and within what a step is measured. Any other setting, new ones too, sets families apart.
NOT_OF_FAMILY = frozenset({
    "model_size", "context_length", "batch_size", "batch_size_search", "memory_budget_mib",
    "device", "num_threads", "data_path", "seed", "num_warmups", "num_trials", "num_steps",
    "peak_tflops",
})  # fmt: skip


class TrainingProbing(Probing[TrainingRun]):
    """Probe a training run with two of its steps, or with `workload: generate`."""

    preload = ("scripts.lib.kinds.training.workloads",)

    def requested(self, run: TrainingRun) -> BatchSizeRequest:
        """Sequences of a step."""
        return run.batch_size

    def model(self, run: TrainingRun) -> str:
        """Name of the size."""
        return run.model_size

    def label(self, run: TrainingRun) -> str:
        """Size and context length."""
        return f"{run.model_size} context_length={run.context_length}"

    def family(self, run: TrainingRun) -> tuple[Any, ...]:
        """All that decides memory but the context length."""
        deciding = (value for name, value in run if name not in NOT_OF_FAMILY)
        return (*deciding, run.search.workload)

    def sample_length(self, run: TrainingRun) -> float:
        """Tokens of a sequence, with those that are generated."""
        generates = run.search.workload == "generate"
        return run.context_length + (run.search.max_new_tokens if generates else 0)

    def num_threads(self, run: TrainingRun) -> int:
        """Threads of the run's steps."""
        return run.num_threads

    def columns(self, run: TrainingRun) -> dict[str, Any]:
        """Size, context length, mode, precision."""
        return {
            "model_size": run.model_size,
            "context_length": run.context_length,
            "mode": run.mode,
            "precision": run.precision,
        }

    @contextmanager
    def data(self, run: TrainingRun, path: str | None) -> Iterator[str]:
        """Yield a token file: `path`, the run's own, or the embedded text tokenised for it."""
        from scripts.lib.kinds.training.tokens import check_tokens, write_embedded_tokens

        with TemporaryDirectory() as folder:
            path = path or run.data_path
            if not path:
                path = f"{folder}/tokens.npy"
                write_embedded_tokens(path, run.vocab)
            check_tokens(path, run.vocab, run.context_length)
            yield path

    def worst_case(self, run: TrainingRun, data: str) -> dict[str, int | str]:
        """Full contexts; two steps, or the tokens of a generation."""
        common = {"workload": run.search.workload, "context_length": run.context_length}
        if run.search.workload == "generate":
            return {**common, "max_new_tokens": run.search.max_new_tokens}
        return {**common, "mode": run.mode, "steps": 2}

    def unsupported(self, run: TrainingRun, device: Any) -> str:
        """What the device is known to lack for the run's step."""
        from scripts.lib.kinds.training.step import unsupported_reason

        return unsupported_reason(run, device)

    def workload(
        self, run: TrainingRun, batch_size: int, data: str, device: Any
    ) -> Callable[[], None]:
        """Two steps, or a forward pass and a generation."""
        from scripts.lib.kinds.training.workloads import WORKLOADS

        return WORKLOADS[run.search.workload](run, batch_size, data, device)
