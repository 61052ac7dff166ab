"""Text files of users: whether they exist, columns of a CSV header, options of the reader.

Light enough for the Snakefile, which checks them before any job starts.
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Cells that stand for no value where a column is no text.
NOTHING = ["", "NA", "N/A", "NaN", "nan", "NULL", "null", "None"]


def problems_of_files(key: str, files: Sequence[str] | None) -> list[str]:
    """Return a line for each file that is missing or empty; `key` is the setting that names it."""
    problems = []
    for file in files or ():
        if not Path(file).is_file():
            problems.append(f"{key}: {file}: no such file")
        elif not Path(file).stat().st_size:
            problems.append(f"{key}: {file}: is empty")
    return problems


def separator(path: str, files: Sequence[str]) -> dict[str, Any]:
    """Options of the CSV reader: in files of tabs quotes mean nothing, as in those of GLUE."""
    if path == "csv" and all(Path(file).suffix == ".tsv" for file in files):
        return {"sep": "\t", "quoting": csv.QUOTE_NONE}
    return {}


def as_text(names: Sequence[str], columns: Sequence[str]) -> dict[str, Any]:
    """Options of the CSV reader that keep cells of the columns `names` as they are written.

    Else it makes `007` a number and `None` or `NA` nothing. An empty cell stays none.
    """
    return {
        "converters": dict.fromkeys(names, _cell),
        "keep_default_na": False,
        "na_values": {name: [""] if name in names else NOTHING for name in columns},
    }


def _cell(text: str) -> str | None:
    return text or None


def header(path: str, files: Sequence[str]) -> list[str]:
    """Return the columns that the first of some CSV files names in its first line."""
    options = separator(path, files)
    with Path(files[0]).open(newline="", encoding="utf-8", errors="replace") as file:
        reader = csv.reader(
            file,
            delimiter=options.get("sep", ","),
            quoting=options.get("quoting", csv.QUOTE_MINIMAL),
        )
        return next(reader, [])
