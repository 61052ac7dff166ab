"""What can be told of the files of a text without reading them: existence, columns of a header.

Light enough for the Snakefile, which refuses them before any job starts.
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.lib.config.ddp import TextData

# Cells that stand for no value where a column is no text.
NOTHING = ["", "NA", "N/A", "NaN", "nan", "NULL", "null", "None"]
USUAL = {"text_column": ("sentence", "text"), "label_column": ("label",)}


def problems_of(data: TextData, labelled: bool) -> list[str]:
    """Return a line for each problem: a missing or empty file, a column that a header lacks."""
    problems = problems_of_files("data_files", data.data_files)
    problems += problems_of_files("eval_files", data.eval_files)
    if problems or data.path != "csv":
        return problems
    columns = header(data.path, data.data_files)
    wanted = ["text_column", *(["label_column"] if labelled else [])]
    found = (find_column(key, getattr(data, key), columns)[1] for key in wanted)
    return [problem for problem in found if problem]


def missing_names(tokenizer: str | None, model: str | None) -> list[str]:
    """Return a line for each tokenizer or model on this machine that is not there."""
    problems = []
    for key, name in (("tokenizer", tokenizer), ("model", model)):
        if name and name.endswith((".txt", ".json")):
            problems += [] if Path(name).is_file() else [f"{key}: {name}: no such file"]
        elif name and name.startswith(("/", "./", "../")):
            problems += [] if Path(name).is_dir() else [f"{key}: {name}: no such folder"]
    return problems


def problems_of_files(key: str, files: Sequence[str] | None) -> list[str]:
    """Return a line for each file that is missing or empty; `key` is the setting that names it."""
    problems = []
    for file in files or ():
        if not Path(file).is_file():
            problems.append(f"{key}: {file}: no such file")
        elif not Path(file).stat().st_size:
            problems.append(f"{key}: {file}: is empty")
    return problems


def find_column(key: str, given: str | None, columns: list[str]) -> tuple[str, str]:
    """Return the column that is asked for or usual, and a line where there is none."""
    usual = USUAL[key]
    found = next((name for name in ([given] if given else usual) if name in columns), "")
    if found:
        return found, ""
    told = f"no column {given!r}" if given else f"none of the columns {', '.join(usual)}"
    return "", f"{key}: {told}; the data has: {', '.join(columns)}"


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
