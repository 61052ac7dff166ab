"""Check the files that runs name, before any job starts."""

import json

from scripts.lib.config.runs import Expansion
from scripts.lib.kinds.registry import KINDS
from scripts.lib.schema.errors import InputError


def check_inputs(expansion: Expansion) -> None:
    """Raise InputError with a line for each file that cannot feed its runs."""
    problems: dict[str, None] = {}
    for sweep, ids in expansion.sweeps.items():
        runs = [json.loads(expansion.runs[run].settings) for run in ids]
        kind = KINDS[expansion.runs[ids[0]].kind]
        problems |= {f"sweeps.{sweep}.{problem}": None for problem in kind.problems(runs)}
    if problems:
        raise InputError(*problems)
