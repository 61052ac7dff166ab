"""The batch size that a program measures at: a number, or what a search found."""

from dataclasses import dataclass

from scripts.lib.batch_size.result import BatchSizeResult
from scripts.lib.results.reading import read_result
from scripts.lib.results.result import Status
from scripts.lib.schema.errors import InputError
from scripts.lib.sweeps.run import BatchSizeRequest


@dataclass(frozen=True)
class SizeInUse:
    """The size to measure at, or why there is none; None without a limit.

    `search` is the finished search behind it, if any.
    """

    size: int | None
    status: Status = "ok"
    reason: str = ""
    search: BatchSizeResult | None = None


def size_in_use(
    given: str | None, requested: BatchSizeRequest, kind: str, setting: str = "batch_size"
) -> SizeInUse:
    """Return the size that `--batch-size` gives, or that the run requests in `setting`.

    `given` is a number, which takes the place of the run's, or a `batch_size.json`, which is read
    where the run says `auto`. Raises InputError where it is needed and missing, is neither, or is
    a search of another kind of run.
    """
    if given is not None and given.lstrip("+-").isdigit():
        if int(given) < 1:
            raise InputError(f"--batch-size: must be at least 1, got {given}")
        return SizeInUse(int(given))
    if requested != "auto":
        return SizeInUse(requested)
    if given is None:
        raise InputError(
            f"--batch-size: required, because the run says {setting}: auto; a number, or the "
            "batch_size.json that scripts.find_batch_size writes"
        )
    search = read_result(given, BatchSizeResult)
    if search.kind != kind:
        raise InputError(f"--batch-size: {given}: is of a run of kind {search.kind}, not {kind}")
    if search.status != "ok":
        return SizeInUse(None, search.status, search.reason, search)
    return SizeInUse(search.size_in_use, search=search)
