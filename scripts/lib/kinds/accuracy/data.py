"""Samples to evaluate on: images with questions and answers, embedded or through `datasets`."""

import io
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from scripts.lib.kinds.accuracy.config import AccuracyRun
from scripts.lib.kinds.accuracy.digits import puzzle
from scripts.lib.kinds.accuracy.files import problems_of
from scripts.lib.kinds.accuracy.measurement import EMBEDDED, FILE_FORMATS, AccuracyData
from scripts.lib.runtime.text_files import as_text, header, separator
from scripts.lib.schema.errors import InputError

log = logging.getLogger(__name__)
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class Sample:
    """A question, mostly about an image; `id` is its number in the whole data set."""

    id: int
    question: str
    answers: list[str]
    image: Image.Image | None = None
    choices: list[str] | None = None


@dataclass
class Samples:
    """Samples that are made or read when they are asked for, by their place.

    `fingerprint` is what `datasets` calls the contents; embedded data has none and never changes.
    """

    ids: list[int]
    _read: Any = field(repr=False)
    fingerprint: str = ""

    def __len__(self) -> int:
        """How many samples there are."""
        return len(self.ids)

    def __getitem__(self, place: int) -> Sample:
        """Read the sample at a place. Raises InputError for a row that is none."""
        return self._read(self.ids[place])


def read_samples(run: AccuracyRun, count: int | None = None, held_out: bool = False) -> Samples:
    """Draw the samples of a run: `num_samples` of them, or `count`.

    The same seed draws the same, in the order of the data set. `held_out` draws others, as far as
    there are enough. Raises InputError with one line for what cannot be read.
    """
    count = count or run.num_samples
    if run.dataset.path == EMBEDDED:
        grid = run.embedded.max_grid if run.embedded else 3
        seed = run.seed + (1 << 32) * held_out
        return Samples(list(range(count)), lambda number: _puzzle(number, seed, grid))
    rows = _load(run.dataset, run.trust_remote_code)
    fingerprint = str(getattr(rows, "_fingerprint", ""))
    _check_columns(run, list(rows.column_names))
    order = np.random.default_rng(run.seed).permutation(len(rows))
    if held_out:
        order = order[::-1]
    chosen = sorted(int(number) for number in order[:count])
    if len(chosen) < count:
        log.info("the data has only %d rows, fewer than the %d asked for", len(chosen), count)
    return Samples(chosen, lambda number: _sample(run, rows[number], number), fingerprint)


def _puzzle(number: int, seed: int, max_grid: int) -> Sample:
    found = puzzle(number, seed, max_grid)
    image = Image.fromarray(found.image).convert("RGB")
    return Sample(number, found.question, [found.answer], image)


def _load(data: AccuracyData, trust_remote_code: bool) -> Any:
    if problems := problems_of(data):
        raise InputError(*(f"dataset.{line}" for line in problems))
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    import datasets

    options: dict[str, Any] = {"cache_dir": data.dataset_dir}
    split = data.split
    if data.path in FILE_FORMATS:
        options |= {"data_files": data.data_files} | separator(data.path, data.data_files)
        if data.path == "csv":
            columns = header("csv", data.data_files)
            options |= as_text([data.question_column, data.answer_column], columns)
        split = "train"
    elif trust_remote_code:
        options["trust_remote_code"] = True
    try:
        rows = datasets.load_dataset(data.path, data.name, split=split, **options)
        if data.image_column in rows.column_names:
            feature = rows.features[data.image_column]
            if isinstance(feature, datasets.Image):
                rows = rows.cast_column(data.image_column, datasets.Image(decode=False))
    except datasets.exceptions.DatasetGenerationError as error:
        raise InputError(f"dataset.path {data.path}: {_line(error.__cause__ or error)}") from None
    except Exception as error:  # every builder and every transport has errors of its own
        if "corresponds to no data" in str(error):
            raise InputError(f"dataset.path {data.path}: has no rows") from None
        raise InputError(f"dataset.path {data.path}: {_line(error)}") from None
    if not len(rows):
        raise InputError(f"dataset.path {data.path}: has no rows")
    return rows


def _check_columns(run: AccuracyRun, columns: list[str]) -> None:
    data = run.dataset
    problems = []
    for key in ("question_column", "answer_column", "image_column", "choices_column"):
        name = getattr(data, key)
        if name is not None and name not in columns:
            problems.append(
                f"dataset.{key}: no column {name!r}; the data has: {', '.join(columns)}"
            )
    if problems:
        raise InputError(*problems)


def _sample(run: AccuracyRun, row: dict[str, Any], number: int) -> Sample:
    data = run.dataset
    choices = row[data.choices_column] if data.choices_column else None
    if choices and not (isinstance(choices, list) and len(choices) <= len(LETTERS)):
        raise InputError(
            f"dataset.choices_column: row {number} has no list of up to {len(LETTERS)} choices, "
            f"but {choices!r:.80}"
        )
    question = data.prompt.replace("{question}", str(row[data.question_column]))
    if choices:
        lines = "\n".join(f"{LETTERS[i]}. {choice}" for i, choice in enumerate(choices))
        question = f"{question}\n{lines}\nAnswer with the letter of the right choice."
    found = row[data.answer_column]
    listed = found if isinstance(found, list) else [found]
    if choices and run.metric == "multiple_choice":
        listed = [_chosen(answer, choices, number) for answer in listed]
    # Of several people some may have said nothing.
    answers = [text for answer in listed if (text := _text(answer))]
    if not answers:
        raise InputError(f"dataset.answer_column: row {number} has no answer, but {found!r}")
    image = None
    if data.image_column:
        image = _image(row[data.image_column], data, number)
    return Sample(number, question, answers, image, choices and list(map(str, choices)))


def _chosen(answer: Any, choices: list[Any], number: int) -> Any:
    """Return the text of the choice where an answer is a place; choices may be numbers themselves.

    Raises InputError for a place outside of them.
    """
    if not isinstance(answer, int) or isinstance(answer, bool):
        return answer
    if not 0 <= answer < len(choices):
        raise InputError(
            f"dataset.answer_column: row {number}: {answer} is none of the places 0 to "
            f"{len(choices) - 1} of its choices"
        )
    return choices[answer]


def _text(answer: Any) -> str:
    # The VQA data sets have mappings with the answer of each person.
    found = answer.get("answer", "") if isinstance(answer, dict) else answer
    if isinstance(found, float) and found.is_integer():  # whole numbers beside an empty cell
        found = int(found)
    return "" if found is None else str(found)


def _image(value: Any, data: AccuracyData, number: int) -> Image.Image:
    """Open an image: bytes or a path, or the first of a list; paths are beside the data file."""
    where = f"dataset.image_column: row {number}"
    value = value[0] if isinstance(value, list) and value else value
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, str):
        path = Path(value)
        value = path if path.is_absolute() or not data.data_files else (
            Path(data.data_files[0]).parent / path
        )  # fmt: skip
    elif isinstance(value, bytes):
        value = io.BytesIO(value)
    else:
        raise InputError(f"{where}: is no image but {value!r:.80}")
    try:
        return Image.open(value).convert("RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise InputError(f"{where}: no image can be read: {_line(error)}") from None


def _line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
