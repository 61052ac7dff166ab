"""Scores of answers, from 0 to 1; pure functions of texts.

`SCORES[metric](prediction, answers, choices)`: `answers` are all that count as right, `choices` is
the list of a multiple-choice question, else None.
"""

import re
import string
from collections.abc import Callable, Sequence

from scripts.lib.config.accuracy_measurement import Metric

Choices = Sequence[str] | None
# What the VQA evaluation maps before it compares: numbers as words, articles away.
_NUMBERS = {
    "none": "0", "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5",
    "six": "6", "seven": "7", "eight": "8", "nine": "9", "ten": "10",
}  # fmt: skip
_ARTICLES = {"a", "an", "the"}
# Above this distance an answer counts as another one, not as a misspelt one.
ANLS_THRESHOLD = 0.5


def exact_match(prediction: str, answers: Sequence[str], choices: Choices = None) -> float:
    """1 where the prediction is one of the answers but for case and spaces."""
    return float(_plain(prediction) in {_plain(answer) for answer in answers})


def vqa_accuracy(prediction: str, answers: Sequence[str], choices: Choices = None) -> float:
    """min(answers that match / 3, 1) after the VQA evaluation's normalisation.

    Antol et al., VQA: Visual Question Answering, 2015: ten people answered, and an answer is right
    if three gave it. Where fewer than three answers are known, all of them must match.
    """
    matching = sum(_vqa(answer) == _vqa(prediction) for answer in answers)
    return min(matching / min(3, len(answers)), 1.0)


def anls(prediction: str, answers: Sequence[str], choices: Choices = None) -> float:
    """Average normalised Levenshtein similarity of one question: the best over its answers.

    1 - distance / longer length, and 0 from a normalised distance of one half (Biten et al., Scene
    Text Visual Question Answering, 2019).
    """
    return max(_similarity(_plain(prediction), _plain(answer)) for answer in answers)


def multiple_choice(prediction: str, answers: Sequence[str], choices: Choices = None) -> float:
    """1 where the prediction names the right choice, by its letter or by its text.

    An answer is a letter, a text of `choices`, or its place in them, counted from 0.
    """
    right = {_letter(str(answer), choices, places=True) for answer in answers}
    return float(_letter(prediction, choices) in right - {""})


def digit_accuracy(prediction: str, answers: Sequence[str], choices: Choices = None) -> float:
    """Share of digits in the right place; digits too many or too few are wrong."""
    said = re.findall(r"\d", prediction)
    return max(_share(said, re.findall(r"\d", answer)) for answer in answers)


SCORES: dict[Metric, Callable[[str, Sequence[str], Choices], float]] = {
    "exact_match": exact_match,
    "vqa_accuracy": vqa_accuracy,
    "anls": anls,
    "multiple_choice": multiple_choice,
    "digit_accuracy": digit_accuracy,
}


def levenshtein(one: str, other: str) -> int:
    """Fewest insertions, deletions and replacements that turn one text into the other."""
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        diagonal, row[0] = row[0], i
        for j, wanted in enumerate(other, 1):
            best = min(row[j] + 1, row[j - 1] + 1, diagonal + (letter != wanted))
            diagonal, row[j] = row[j], best
    return row[-1]


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _vqa(text: str) -> str:
    text = _plain(text)
    # A point or comma between digits is part of a number; an apostrophe part of a word.
    text = re.sub(r"(?<!\d)\.|\.(?!\d)|(?<=\d),(?=\d)", "", text)
    marks = string.punctuation.replace("'", "").replace(".", "").replace(":", "")
    text = text.translate(str.maketrans(marks, " " * len(marks)))
    words = (_NUMBERS.get(word, word) for word in text.split())
    return " ".join(word for word in words if word not in _ARTICLES)


def _similarity(one: str, other: str) -> float:
    longer = max(len(one), len(other))
    distance = levenshtein(one, other) / longer if longer else 0.0
    return 1 - distance if distance < ANLS_THRESHOLD else 0.0


def _letter(text: str, choices: Choices, places: bool = False) -> str:
    """Letter of the choice that a text names; empty where it names none."""
    text, choices = text.strip(), choices or ()
    for number, choice in enumerate(choices):
        if _plain(text).rstrip(".") == _plain(choice).rstrip("."):
            return string.ascii_uppercase[number]
    if places and text.isdigit() and (not choices or int(text) < len(choices)):
        return string.ascii_uppercase[int(text)]
    # `A`, `(b)`, `C. text`, `Answer: D`; the article `A man` is no answer.
    found = re.fullmatch(r"\(?([A-Za-z])\)?[.:]?", text) or re.match(r"\(?([A-Z])[).:]", text)
    found = found or re.search(r"(?i:answer|option)(?i: is)?:?\s*\(?([A-Z])\b", text)
    return found.group(1).upper() if found else ""


def _share(said: list[str], wanted: list[str]) -> float:
    longer = max(len(said), len(wanted))
    return sum(a == b for a, b in zip(said, wanted, strict=False)) / longer if longer else 1.0
