"""What all knobs share: apply, tell what is really in force, restore, verify."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, ClassVar

import torch

from scripts.lib.runtime.outcomes import Unsupported


class Knob(ABC):
    """A knob of a loaded model.

    `own` is the value that the checkpoint has.
    """

    name: ClassVar[str]
    own: int | None = None

    @abstractmethod
    def apply(self, value: Any) -> None:
        """Turn the knob. Raises Unsupported where that cannot be."""

    @abstractmethod
    def restore(self) -> None:
        """Put everything back as it was before `apply`; harmless before it."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Tell what is in force, read from the model and not from what was asked for."""

    def is_own(self) -> bool:
        """Whether what is in force is what the checkpoint has."""
        return self.describe()[self.name] == self.own


@contextmanager
def turned(
    settings: Sequence[tuple[Knob, Any]], probe: Callable[[], torch.Tensor]
) -> Iterator[None]:
    """Turn knobs for the time of the block, one by one, and put them back however it ends.

    `probe` gives logits of some fixed inputs. A knob that is away from the model's own value and
    leaves them bit-identical does nothing, whatever its attribute says: Unsupported.
    """
    with ExitStack() as stack:
        before = probe() if settings else None
        for knob, value in settings:
            stack.callback(knob.restore)
            knob.apply(value)
            after = probe()
            if not knob.is_own() and torch.equal(before, after):
                raise Unsupported(f"{knob.name}: {value} changes nothing in this model's logits")
            before = after
        yield
