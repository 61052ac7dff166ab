"""What can be told of the files of a text without reading them: existence, columns of a header.

Light enough for the Snakefile, which refuses them before any job starts.
"""

from pathlib import Path

from scripts.lib.kinds.ddp.config import TextData
from scripts.lib.runtime.text_files import header, problems_of_files

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


def find_column(key: str, given: str | None, columns: list[str]) -> tuple[str, str]:
    """Return the column that is asked for or usual, and a line where there is none."""
    usual = USUAL[key]
    found = next((name for name in ([given] if given else usual) if name in columns), "")
    if found:
        return found, ""
    told = f"no column {given!r}" if given else f"none of the columns {', '.join(usual)}"
    return "", f"{key}: {told}; the data has: {', '.join(columns)}"
