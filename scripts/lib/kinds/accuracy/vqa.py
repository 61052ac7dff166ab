"""Normalisation of the VQA evaluation: what it takes away from an answer before it compares.

The rules are those of vqaEval.py of the VQA challenge (A. Agrawal, 2015) with their oddities, so
that scores can be compared with published ones. One thing differs: the original leaves answers as
they are where all people gave the same one, and here they always go through the rules.
"""

import re

# Marks that are taken away or become a space. Others stay: ' . : $ % & * # ~ | ^
MARKS = ';/[]"{}()=+\\_-><@`,?!'
NUMBERS = {
    "none": "0", "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5",
    "six": "6", "seven": "7", "eight": "8", "nine": "9", "ten": "10",
}  # fmt: skip
ARTICLES = {"a", "an", "the"}
# Words that get an apostrophe back where they lack one. The original has I'm, I've and I'd've, too,
# with a capital, but looks for them in small letters, so it never finds them.
CONTRACTED = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've
    hasn't haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't
    mightn't've might've mustn't must've needn't not've o'clock oughtn't 'ow's'at shan't
    she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd
    someone'd've someone'll someone's something'd something'd've something'll that's there'd
    there'd've there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've
    we've weren't what'll what're what's what've when's where'd where's where've who'd who'd've
    who'll who's who've why'll why're why's won't would've wouldn't wouldn't've y'all y'all'll
    y'all'd've you'd you'd've you'll you're you've
"""


def normalise(text: str) -> str:
    """Return an answer as it is compared: marks, articles and case away, numbers as digits."""
    words = [NUMBERS.get(word, word) for word in _without_marks(text).lower().split()]
    return " ".join(REPAIRED.get(word, word) for word in words if word not in ARTICLES)


def _without_marks(text: str) -> str:
    """Take marks and points away.

    A mark beside a space anywhere in the text goes at all its places; one that only joins words
    becomes a space. With a comma between digits anywhere, as in 1,000, all marks go. Points go
    unless a digit follows.
    """
    text = left = " ".join(text.split())
    joined = re.search(r"\d,\d", text) is not None
    for mark in MARKS:
        # Asked of the whole text, and done to what earlier marks have left of it.
        beside = f"{mark} " in text or f" {mark}" in text
        left = left.replace(mark, "" if joined or beside else " ")
    return re.sub(r"\.(?!\d)", "", left)


def _repaired() -> dict[str, str]:
    """Map words with one apostrophe too few to the whole ones."""
    found = {
        word[:place] + word[place + 1 :]: word
        for word in CONTRACTED.split()
        for place, letter in enumerate(word)
        if letter == "'"
    }
    return found | {"somebody'd": "somebodyd"}  # the other way round, as in the original


REPAIRED = _repaired()
