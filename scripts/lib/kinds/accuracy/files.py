"""What can be told of the files of a data set: existence, columns of a header, a digest.

Light enough for the Snakefile, which refuses them before any job starts.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from scripts.lib.kinds.accuracy.measurement import AccuracyData
from scripts.lib.runtime.text_files import header, problems_of_files


def problems_of(data: AccuracyData) -> list[str]:
    """Return a line for each problem: a missing or empty file, a column that a header lacks."""
    problems = problems_of_files("data_files", data.data_files)
    if problems or data.path != "csv":
        return problems
    columns = header(data.path, data.data_files)
    for key in ("question_column", "answer_column", "image_column", "choices_column"):
        name = getattr(data, key)
        if name is not None and name not in columns:
            problems.append(f"{key}: no column {name!r}; the data has: {', '.join(columns)}")
    return problems


def digests_of(files: Sequence[str]) -> list[str]:
    """Return the SHA-256 of each file, which changes with its contents and nothing else."""
    found = []
    for path in files:
        with Path(path).open("rb") as file:
            found.append(hashlib.file_digest(file, "sha256").hexdigest())
    return found


def problems_of_model(model: str) -> list[str]:
    """Return a line where a model is meant to be a folder and is no checkpoint.

    A name of the hub has one slash and no such folder; whether it exists is told when it is loaded.
    """
    folder = Path(model)
    if model.startswith(("/", "./", "../", "~")) and not folder.is_dir():
        return [f"model: {model}: no such folder"]
    if folder.is_dir() and "/" in model and not (folder / "config.json").is_file():
        return [f"model: {model}: is no checkpoint of transformers: it has no config.json"]
    return []
