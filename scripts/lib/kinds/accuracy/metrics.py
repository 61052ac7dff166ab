"""Scores of answers, from 0 to 1; pure functions of texts.

`SCORES[metric](prediction, answers, choices)`: `answers` are all that count as right, `choices` is
the list of a multiple-choice question, else None.
"""

import re
import string
from collections.abc import Callable, Sequence

from scripts.lib.kinds.accuracy.measurement import Metric
from scripts.lib.kinds.accuracy.vqa import normalise

Choices = Sequence[str] | None
LETTERS = string.ascii_uppercase
# Above this distance an answer counts as another one, not as a misspelt one.
ANLS_THRESHOLD = 0.5


def exact_match(prediction: str, answers: Sequence[str], choices: Choices = None) -> float:
    """1 where the prediction is one of the answers but for case and spaces."""
    return float(_plain(prediction) in {_plain(answer) for answer in answers})


def vqa_accuracy(prediction: str, answers: Sequence[str], choices: Choices = None) -> float:
    """min(answers that match / 3, 1) after the VQA evaluation's normalisation (see `vqa`).

    Antol et al., VQA: Visual Question Answering, 2015: ten people answered, and an answer is right
    if three gave it. The evaluation's mean over all nine of the ten is not taken. Where fewer than
    three answers are known, all of them must match.
    """
    said = normalise(prediction)
    matching = sum(normalise(answer) == said for answer in answers)
    return min(matching / min(3, len(answers)), 1.0)


def anls(prediction: str, answers: Sequence[str], choices: Choices = None) -> float:
    """Average normalised Levenshtein similarity of one question: the best over its answers.

    1 - distance / longer length, and 0 from a normalised distance of one half (Biten et al., Scene
    Text Visual Question Answering, 2019).
    """
    return max(_similarity(_plain(prediction), _plain(answer)) for answer in answers)


def multiple_choice(prediction: str, answers: Sequence[str], choices: Choices = None) -> float:
    """1 where the prediction names the right choice, by its letter or by its text.

    A prediction that is a letter alone is the letter, also where a choice has that text: letters
    are what was asked for. An answer is a text of `choices`, else their place counted from 0, else
    a letter. A number in the data is a place always; `data` puts the text in its stead.
    """
    right = {_right_letter(answer, choices or ()) for answer in answers}
    return float(_said_letter(prediction, choices or ()) in right - {""})


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


def _similarity(one: str, other: str) -> float:
    longer = max(len(one), len(other))
    distance = levenshtein(one, other) / longer if longer else 0.0
    return 1 - distance if distance < ANLS_THRESHOLD else 0.0


def _said_letter(text: str, choices: Sequence[str]) -> str:
    """Letter of the choice that a prediction names; empty where it names none."""
    text = text.strip()
    return _lone_letter(text, choices) or _letter_of(text, choices) or _letter_within(text)


def _right_letter(text: str, choices: Sequence[str]) -> str:
    """Letter of the choice that an answer of the data names; empty where it names none."""
    text = text.strip()
    if found := _letter_of(text, choices):
        return found
    if text.isdecimal() and int(text) < (len(choices) or len(LETTERS)):
        return LETTERS[int(text)]
    return _lone_letter(text, choices) or _letter_within(text)


def _lone_letter(text: str, choices: Sequence[str]) -> str:
    """`A`, `(b)` or `c.`, if there are so many choices."""
    found = re.fullmatch(r"\(?([A-Za-z])\)?[.:]?", text)
    letter = found.group(1).upper() if found else ""
    return letter if not choices or letter in LETTERS[: len(choices)] else ""


def _letter_of(text: str, choices: Sequence[str]) -> str:
    """Letter of the choice that has this text."""
    plain = [_plain(choice).rstrip(".") for choice in choices]
    said = _plain(text).rstrip(".")
    return LETTERS[plain.index(said)] if said in plain else ""


def _letter_within(text: str) -> str:
    """Letter in `C. text` or `Answer: D`; the article `A man` is none."""
    found = re.match(r"\(?([A-Z])[).:]", text)
    found = found or re.search(r"(?i:answer|option)(?i: is)?:?\s*\(?([A-Z])\b", text)
    return found.group(1) if found else ""


def _share(said: list[str], wanted: list[str]) -> float:
    longer = max(len(said), len(wanted))
    return sum(a == b for a, b in zip(said, wanted, strict=False)) / longer if longer else 1.0
