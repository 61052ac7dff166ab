"""Classify what ended a measurement: out of memory, unsupported, or a failure."""

from typing import Literal

from scripts.lib.runtime.memory import is_out_of_memory

# Reasons are one line in tables and logs.
MAX_REASON = 500


class Unsupported(NotImplementedError):
    """The model or device cannot do what the run asks for; the text is the whole reason.

    Like torch's own NotImplementedError it is an answer, not a failure.
    """


def classify(error: BaseException) -> Literal["oom", "unsupported", "failed"]:
    """Return the status of a run that ended with this exception."""
    if is_out_of_memory(error):
        return "oom"
    return "unsupported" if is_unsupported(error) else "failed"


def is_unsupported(error: BaseException) -> bool:
    """Whether an exception says that torch or transformers lacks what was asked for."""
    return isinstance(error, NotImplementedError | ImportError) or (
        isinstance(error, RuntimeError) and "not implemented for" in str(error)
    )


def reason_of(error: BaseException) -> str:
    """Return the one-line reason for a row: the text of Unsupported, else `Type: text`."""
    text = str(error) if isinstance(error, Unsupported) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:MAX_REASON]
