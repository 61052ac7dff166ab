"""Read result files back, checked against their models."""

import json
import re
from pathlib import Path, PurePath
from typing import TypeVar

from pydantic import ValidationError

from scripts.lib.results.result import SCHEMA_VERSION, ResultFile
from scripts.lib.schema.errors import InputError

# Results begin with their schema version; so much of a file is looked through for it.
_HEAD = 64
_IS_CURRENT = re.compile(rb'"schema_version":\s*%d\b' % SCHEMA_VERSION)
R = TypeVar("R", bound=ResultFile)


def read_result(path: str | PurePath, model: type[R]) -> R:
    """Read the result file `path`.

    A file of an older schema is read through the `upgrades` of its model. Raises InputError with
    one line when it is missing, empty, cut off, of a newer schema, or does not fit the model.
    """
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    if not text.strip():
        raise InputError(f"{path}: is empty; delete it and run the workflow again")
    try:
        return model.model_validate_json(_current(path, text, model))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole file"
        raise InputError(
            f"{path}: not a valid {model.__name__}: {place}: {first['msg']}; "
            "delete it and run the workflow again"
        ) from None


def _current(path: str | PurePath, text: bytes, model: type[ResultFile]) -> bytes | str:
    """Return the content of a result file in today's schema.

    Raises InputError for a schema version that cannot be read.
    """
    if _IS_CURRENT.search(text[:_HEAD]):
        return text
    try:
        data = json.loads(text)
        version = data["schema_version"]
    except (ValueError, KeyError, TypeError):
        return text  # validation says what is wrong with it
    if version not in range(1, SCHEMA_VERSION + 1):
        raise InputError(
            f"{path}: has schema_version {version!r}, this program reads 1 to {SCHEMA_VERSION}; "
            "use the sweepmake that wrote it, or delete it"
        )
    try:
        for step in range(version, SCHEMA_VERSION):
            data = model.upgrades[step](data) | {"schema_version": step + 1}
    except (KeyError, TypeError, AttributeError):
        raise InputError(
            f"{path}: not a valid {model.__name__} of schema version {version}; "
            "delete it and run the workflow again"
        ) from None
    return json.dumps(data)
