"""Settings for programs that make what several accuracy runs share."""

from pydantic import ValidationError

from scripts.lib.config import load_run
from scripts.lib.config.accuracy import AccuracyRun
from scripts.lib.schema.errors import InputError


def read_settings(run: str | None, text: str | None) -> AccuracyRun:
    """Settings of a run file, or of JSON text that leaves out what does not matter.

    Raises InputError when it is neither.
    """
    if (run is None) == (text is None):
        raise InputError("--run or --settings: give one of them")
    if run is not None:
        _, found = load_run(run)
        if not isinstance(found, AccuracyRun):
            raise InputError(f"{run}: is of kind {found.kind}, not accuracy")
        return found
    try:
        return AccuracyRun.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole text"
        raise InputError(f"--settings: {place}: {first['msg']}") from None
