"""Read texts and labels, through `datasets` or from the embedded docstrings, and check them."""

import logging
import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from scripts.lib.kinds.ddp.config import EMBEDDED, FILE_FORMATS, TextData
from scripts.lib.kinds.ddp.docstrings import LABELS, docstrings
from scripts.lib.kinds.ddp.files import find_column, problems_of
from scripts.lib.runtime.text_files import as_text, header, separator
from scripts.lib.schema.errors import InputError

log = logging.getLogger(__name__)
# Above so many different texts as labels, the column is no label.
MAX_TEXT_LABELS = 1000


@dataclass
class Texts:
    """Texts with their labels (int64, shape (rows,)); all zero where there are none."""

    texts: list[str]
    labels: np.ndarray


@dataclass
class Corpus:
    """Texts to train and to evaluate on, and what the labels mean."""

    train: Texts
    evaluation: Texts
    num_labels: int


def read_corpus(data: TextData, labelled: bool, trust_remote_code: bool = False) -> Corpus:
    """Read the texts that `data` names; without `labelled` no label column is needed.

    Raises InputError with one line for what cannot be read: an unknown column, no rows, a text
    that is none, a label out of range.
    """
    if data.path == EMBEDDED:
        texts, labels = docstrings()
        train, evaluation = _split(Texts(texts, np.array(labels)), data)
        return Corpus(train, evaluation, len(LABELS))
    train_rows, eval_rows = _load(data, labelled, trust_remote_code)
    train, names = _texts(train_rows, data, labelled)
    evaluation = None
    if eval_rows is not None:
        evaluation, _ = _texts(eval_rows, data, labelled, names)
    highest = max(int(part.labels.max()) for part in (train, evaluation) if part)
    num_labels = data.num_labels or max(highest + 1, 2)
    for part, where in ((train, "training"), (evaluation, "evaluation")):
        if part and labelled:
            _check_labels(part.labels, num_labels, where)
    if evaluation is None:
        train, evaluation = _split(train, data)
    return Corpus(train, evaluation, num_labels)


def _load(data: TextData, labelled: bool, trust_remote_code: bool) -> tuple[Any, Any]:
    """Return the rows to train on, and those to evaluate on or None."""
    if problems := problems_of(data, labelled):
        raise InputError(*(f"dataset.{line}" for line in problems))
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    import datasets

    def load(files: list[str] | None, split: str) -> Any:
        options: dict[str, Any] = {"cache_dir": data.dataset_dir}
        if data.path in FILE_FORMATS:
            options |= {"data_files": files} | separator(data.path, files)
            if data.path == "csv":
                columns = header("csv", files)
                options |= as_text(
                    [find_column("text_column", data.text_column, columns)[0]], columns
                )
        elif trust_remote_code:
            options["trust_remote_code"] = True
        try:
            return datasets.load_dataset(data.path, data.name, split=split, **options)
        except datasets.exceptions.DatasetGenerationError as error:
            cause = error.__cause__ or error
            raise InputError(f"dataset.path {data.path}: {_line(cause)}") from None
        except Exception as error:  # every builder and every transport has errors of its own
            if "corresponds to no data" in str(error):
                raise InputError(f"dataset.path {data.path}: has no rows") from None
            raise InputError(f"dataset.path {data.path}: {_line(error)}") from None

    if data.path in FILE_FORMATS:
        evaluation = load(data.eval_files, "train") if data.eval_files else None
        return load(data.data_files, "train"), evaluation
    evaluation = load(None, data.eval_split) if data.eval_split else None
    return load(None, data.split), evaluation


def _texts(
    rows: Any, data: TextData, labelled: bool, names: dict[str, int] | None = None
) -> tuple[Texts, dict[str, int]]:
    """Texts and labels, and the numbers of labels that are texts; those of `names` where given."""
    if not len(rows):
        raise InputError(f"dataset.path {data.path}: has no rows")
    columns = list(rows.column_names)
    column = _column("text_column", data.text_column, columns)
    texts = list(rows[column])
    wrong = next((i for i, text in enumerate(texts) if not isinstance(text, str)), None)
    if wrong is not None:
        raise InputError(
            f"dataset.text_column: row {wrong} of {column!r} is no text but {texts[wrong]!r}"
        )
    if not labelled:
        return Texts(texts, np.zeros(len(texts), dtype=np.int64)), {}
    label = _column("label_column", data.label_column, columns)
    values = list(rows[label])
    if names is None:
        names = _names(values, label)
    elif bool(names) != _are_texts(values):
        kinds = ("texts", "whole numbers") if names else ("whole numbers", "texts")
        raise InputError(
            f"dataset.label_column: {label!r} has {kinds[0]} in the training data and {kinds[1]} "
            "in the evaluation data"
        )
    return Texts(texts, _labels(values, label, names)), names


def _column(key: str, given: str | None, columns: list[str]) -> str:
    name, problem = find_column(key, given, columns)
    if problem:
        raise InputError(f"dataset.{problem}")
    return name


def _are_texts(values: list[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


def _names(values: list[Any], column: str) -> dict[str, int]:
    """Numbers of labels that are texts, in the order of the alphabet; none of other labels."""
    names = sorted(set(values)) if _are_texts(values) else []
    if len(names) > MAX_TEXT_LABELS:
        raise InputError(
            f"dataset.label_column: {column!r} has {len(names)} different texts, no labels"
        )
    return {name: i for i, name in enumerate(names)}


def _labels(values: list[Any], column: str, names: dict[str, int]) -> np.ndarray:
    """Labels as whole numbers; texts have the numbers of `names`."""
    if names:
        if unknown := [value for value in values if value not in names]:
            raise InputError(
                f"dataset.label_column: {unknown[0]!r} is no label of the training data"
            )
        return np.array([names[value] for value in values], dtype=np.int64)
    for i, value in enumerate(values):
        if isinstance(value, bool) or not isinstance(value, int):
            raise InputError(
                f"dataset.label_column: row {i} of {column!r} is no whole number but {value!r}"
            )
    return np.array(values, dtype=np.int64)


def _check_labels(labels: np.ndarray, num_labels: int, where: str) -> None:
    wrong = np.flatnonzero((labels < 0) | (labels >= num_labels))
    if len(wrong):
        raise InputError(
            f"dataset.label_column: row {wrong[0]} of the {where} data has the label "
            f"{labels[wrong[0]]}; allowed: 0 to {num_labels - 1}"
        )


def _split(texts: Texts, data: TextData) -> tuple[Texts, Texts]:
    """Keep a share of the rows, drawn with a fixed seed, for evaluation."""
    count = len(texts.texts)
    kept = max(1, round(count * data.eval_share))
    if kept >= count:
        raise InputError(f"dataset.path {data.path}: {count} rows are too few to train on")
    order = np.random.default_rng(0).permutation(count)
    parts = (np.sort(order[kept:]), np.sort(order[:kept]))
    train, evaluation = (
        Texts([texts.texts[i] for i in part], texts.labels[part]) for part in parts
    )
    return train, evaluation


def _line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
