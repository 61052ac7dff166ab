"""Read result files back, checked against their models."""

from pathlib import Path, PurePath
from typing import TypeVar

from pydantic import ValidationError

from scripts.lib.results.result import SCHEMA_VERSION, ResultFile
from scripts.lib.schema.errors import InputError

R = TypeVar("R", bound=ResultFile)


def read_result(path: str | PurePath, model: type[R]) -> R:
    """Read the result file `path`.

    Raises InputError with one line when it is missing, empty, cut off, of another schema version,
    or does not fit the model.
    """
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    if not text.strip():
        raise InputError(f"{path}: is empty; delete it and run the workflow again")
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if first["loc"] == ("schema_version",):
            raise InputError(
                f"{path}: has schema_version {first['input']!r}, this program reads "
                f"{SCHEMA_VERSION}; use the sweepmake that wrote it, or delete it"
            ) from None
        place = ".".join(map(str, first["loc"])) or "the whole file"
        raise InputError(
            f"{path}: is no {model.__name__}: {place}: {first['msg']}; "
            "delete it and run the workflow again"
        ) from None
