"""Settings for programs that make what several accuracy runs share."""

import json

from pydantic import ValidationError

from scripts.lib.kinds.accuracy.config import AccuracyRun
from scripts.lib.kinds.accuracy.kind import Accuracy
from scripts.lib.schema.errors import InputError
from scripts.lib.sweeps.identity import completed


def read_settings(run: str | None, text: str | None) -> AccuracyRun:
    """Settings of a run file, or of JSON text that leaves out what does not matter.

    Raises InputError when it is neither.
    """
    if (run is None) == (text is None):
        raise InputError("--run or --settings: give one of them")
    if run is not None:
        return Accuracy().load_run(run)[1]
    try:
        return AccuracyRun.model_validate(completed(AccuracyRun, json.loads(text)))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole text"
        raise InputError(f"--settings: {place}: {first['msg']}") from None
