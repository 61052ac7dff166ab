"""Scores of answers against published and hand-computed cases; intervals against simulations."""

import json

import numpy as np
import pytest

from scripts.lib.kinds.accuracy.comparison import paired_difference, pareto_set
from scripts.lib.kinds.accuracy.config import AccuracyRun
from scripts.lib.kinds.accuracy.data import read_samples
from scripts.lib.kinds.accuracy.metrics import SCORES, levenshtein
from scripts.lib.runtime.statistics import bootstrap_interval
from scripts.lib.schema.errors import InputError


@pytest.mark.parametrize(
    ("metric", "prediction", "answers", "score"),
    [
        ("exact_match", " The  Cat ", ["a dog", "the cat"], 1),
        ("exact_match", "the cats", ["the cat"], 0),
        # Antol et al. 2015: min(people that said it / 3, 1), ten people.
        ("vqa_accuracy", "yes", ["yes"] * 3 + ["no"] * 7, 1),
        ("vqa_accuracy", "yes", ["yes"] * 2 + ["no"] * 8, 2 / 3),
        ("vqa_accuracy", "yes", ["yes"] + ["no"] * 9, 1 / 3),
        ("vqa_accuracy", "maybe", ["yes"] * 10, 0),
        # The evaluation's own normalisation: articles, numbers, marks, case.
        ("vqa_accuracy", "The two dogs.", ["2 dogs"] * 10, 1),
        ("vqa_accuracy", "1,000", ["1000"] * 3, 1),
        ("vqa_accuracy", "3.5", ["3.5"] * 3, 1),
        ("vqa_accuracy", "red", ["red"], 1),
        # A mark that joins words becomes a space; beside a space it goes, and everywhere.
        ("vqa_accuracy", "black/white", ["black white"] * 3, 1),
        ("vqa_accuracy", "t-shirt -", ["tshirt"] * 3, 1),
        ("vqa_accuracy", "t-shirt", ["tshirt"] * 3, 0),
        ("vqa_accuracy", "1,000-2", ["10002"] * 3, 1),
        # A point goes unless a digit follows; marks that the evaluation does not know stay.
        ("vqa_accuracy", "5.", ["5"] * 3, 1),
        ("vqa_accuracy", ".5", ["5"] * 3, 0),
        ("vqa_accuracy", "10:30 a.m.", ["10:30 am"] * 3, 1),
        ("vqa_accuracy", "$5", ["5"] * 3, 0),
        ("vqa_accuracy", "None", ["0"] * 3, 1),
        # Contractions that lack an apostrophe, and no other words; one the wrong way round.
        ("vqa_accuracy", "Dont", ["don't"] * 3, 1),
        ("vqa_accuracy", "couldntve", ["couldn't've"] * 3, 0),
        ("vqa_accuracy", "couldn'tve", ["couldn't've"] * 3, 1),
        ("vqa_accuracy", "its", ["it's"] * 3, 0),
        ("vqa_accuracy", "somebody'd", ["somebodyd"] * 3, 1),
        # Biten et al. 2019: 1 - NL where NL < 0.5, best answer, case does not count.
        ("anls", "ebay", ["eBay"], 1),
        ("anls", "kitten", ["sitting"], 1 - 3 / 7),
        ("anls", "abcd", ["abxy"], 0),
        ("anls", "abcd", ["abcx", "zzzz"], 0.75),
        ("anls", "", ["a"], 0),
        ("digit_accuracy", "1 2 3", ["1 2 3"], 1),
        ("digit_accuracy", "1 9 3", ["1 2 3"], 2 / 3),
        ("digit_accuracy", "1 2", ["1 2 3 4"], 0.5),
        ("digit_accuracy", "1 2 3 4", ["1 2"], 0.5),
        ("digit_accuracy", "none", ["1"], 0),
    ],
)
def test_scores_by_hand(metric, prediction, answers, score):
    assert SCORES[metric](prediction, answers, None) == pytest.approx(score)


@pytest.mark.parametrize(
    ("prediction", "answer", "score"),
    [
        ("B", "B", 1), ("b.", "B", 1), ("(B)", "1", 1), ("B. green", "green", 1), ("green", "B", 1),
        ("The answer is B", "B", 1), ("Answer: B", "1", 1), ("A", "B", 0), ("a green one", "A", 0),
        ("", "B", 0), ("yellow", "B", 0),
    ],
)  # fmt: skip
def test_multiple_choice_by_letter_text_and_place(prediction, answer, score):
    assert SCORES["multiple_choice"](prediction, [answer], ["red", "green", "blue"]) == score


@pytest.mark.parametrize(
    ("prediction", "answer", "choices", "score"),
    [
        # A letter alone is the letter, also where a choice has its text, or none is so far.
        ("A", "C", "CAB", 1), ("A", "A", "CAB", 0), ("B", "A", "CAB", 1), ("(a)", "C", "CAB", 1),
        ("x", "x", "xy", 1), ("C. elegans", "B", ["E. coli", "C. elegans", "yeast"], 1),
        # Numbers among the choices: a text that is one of them is that one.
        ("2", "2", "123", 1), ("B", "2", "123", 1), ("B", "0", "123", 0), ("A", "0", "123", 1),
    ],
)  # fmt: skip
def test_multiple_choice_where_choices_look_like_letters_or_places(
    prediction, answer, choices, score
):
    assert SCORES["multiple_choice"](prediction, [answer], list(choices)) == score


def multiple_choice_run(folder, rows):
    path = folder / "rows.json"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    data = {"path": "json", "data_files": [str(path)], "choices_column": "choices",
            "dataset_dir": str(folder / "cache")}  # fmt: skip
    return AccuracyRun.model_validate(
        {"model": "m", "dataset": data, "metric": "multiple_choice", "num_samples": len(rows)}
    )


def test_a_number_in_the_data_is_a_place_whatever_the_choices_are(tmp_path):
    choices = ["1", "2", "3"]
    rows = [{"question": "q", "answer": place, "choices": choices} for place in (1, 0, 2)]
    samples = read_samples(multiple_choice_run(tmp_path, rows))
    for sample, letter in zip((samples[i] for i in range(3)), "BAC", strict=True):
        scores = [SCORES["multiple_choice"](s, sample.answers, sample.choices) for s in "ABC"]
        assert scores == [float(s == letter) for s in "ABC"]


def test_a_place_outside_the_choices_is_one_line(tmp_path):
    rows = [{"question": "q", "answer": 2, "choices": ["a", "b"]}]
    with pytest.raises(InputError, match="row 0: 2 is none of the places 0 to 1 of its choices"):
        read_samples(multiple_choice_run(tmp_path, rows))[0]


def test_levenshtein_of_the_textbook():
    pairs = {("kitten", "sitting"): 3, ("saturday", "sunday"): 3, ("", "abc"): 3, ("a", "a"): 0,
             ("rosettacode", "raisethysword"): 8}  # fmt: skip
    assert {pair: levenshtein(*pair) for pair in pairs} == pairs
    assert all(levenshtein(b, a) == n for (a, b), n in pairs.items())


def test_the_paired_interval_covers_a_known_difference():
    generator, covered, narrower, worlds = np.random.default_rng(0), 0, 0, 400
    for world in range(worlds):
        # Hard samples are hard at both points; on 10 % of all the second point fails alone.
        easy = generator.random(250) < 0.7
        scores = (easy & (generator.random(250) >= 0.1 / 0.7)).astype(float)
        differences = scores - easy
        low, high = bootstrap_interval(differences, seed=world, draws=1000)
        covered += low <= -0.1 <= high
        a, b = (bootstrap_interval(s, seed=world, draws=200) for s in (scores, easy.astype(float)))
        narrower += high - low < np.hypot(a[1] - a[0], b[1] - b[0])
    assert 0.92 <= covered / worlds <= 0.975
    assert narrower == worlds


def test_paired_differences_are_over_common_samples():
    found = paired_difference({1: 1.0, 2: 0.0, 9: 1.0}, {1: 0.5, 2: 0.5, 3: 1.0})
    assert found[0] == 0
    assert found[1] <= 0 <= found[2]
    assert paired_difference({1: 1.0}, {2: 1.0}) is None


def test_the_pareto_set_is_what_nothing_beats():
    points = [(1, 0.2), (2, 0.5), (3, 0.5), None, (3, 0.9), (4, 0.9), (1, 0.2), (0.5, 0.1)]
    assert pareto_set(points) == [True, True, False, False, True, False, True, True]
