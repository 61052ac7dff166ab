"""Seeded mutations of the shipped configurations: what hands and scripts make of YAML."""

import copy
import random
from collections.abc import Iterator
from typing import Any

HARM = "touch CANARY"
VALUES: list[Any] = [
    None, True, -1, 0, 1, 3.5, 10**12, float("nan"), float("inf"), "", "auto", "none", "-1", "1e9",
    [], {}, [[]], [None], [-1, 0], ["auto", 1], {"a": 1}, ["nano", "nano"], "x" * 300, "\u0000",
    f"$({HARM})", f"`{HARM}`", f"; {HARM};", f"a\n{HARM}", f"'; {HARM}; '", f'"; {HARM}; "',
    "../../CANARY", "/CANARY", "-rf", "--output=CANARY", "{wildcards.run}", "%(x)s", "é\u202e",
]  # fmt: skip


def places(data: Any, keys: tuple = ()) -> Iterator[tuple]:
    """Paths of keys to everything inside mappings and lists."""
    if isinstance(data, dict | list):
        for key, value in data.items() if isinstance(data, dict) else enumerate(data):
            yield (*keys, key)
            yield from places(value, (*keys, key))


def mutated(data: dict, seed: int) -> dict:
    """One to three random changes: a key gone, misspelt, doubled or foreign, a value replaced."""
    draw = random.Random(seed)
    data = copy.deepcopy(data)
    for _ in range(draw.choice([1, 1, 1, 2, 3])):
        found = list(places(data))
        if not found:
            break
        *way, key = draw.choice(found)
        inside = data
        for step in way:
            inside = inside[step]
        change = draw.choice(["drop", "value", "value", "value", "misspell", "foreign", "wrap"])
        if change == "drop":
            del inside[key]
        elif change == "value":
            inside[key] = copy.deepcopy(draw.choice(VALUES))
        elif change == "wrap":
            inside[key] = [inside[key]]
        elif isinstance(inside, dict):
            name = draw.choice(VALUES[23:]) if change == "foreign" else f"{key}s"
            inside[str(name)] = inside.pop(key) if change == "misspell" else 1
    return data
