"""Check the files that runs name, before any job starts."""

import json

from scripts.lib.config.runs import Expansion
from scripts.lib.schema.errors import InputError


def check_inputs(expansion: Expansion) -> None:
    """Raise InputError with a line for each file that cannot feed its runs."""
    needed: dict[tuple[str, str, int], int] = {}
    for sweep, ids in expansion.sweeps.items():
        for settings in (json.loads(expansion.runs[run].settings) for run in ids):
            if path := settings.get("data_path"):
                key = (sweep, path, settings["vocab"])
                needed[key] = max(needed.get(key, 0), settings["context_length"])
    problems = []
    for (sweep, path, vocab), context_length in needed.items():
        from scripts.lib.tokens import check_tokens

        try:
            check_tokens(path, vocab, context_length)
        except InputError as error:
            problems += [f"sweeps.{sweep}.data_path: {problem}" for problem in error.problems]
    problems += _texts(expansion)
    problems += _questions(expansion)
    if problems:
        raise InputError(*problems)


def _texts(expansion: Expansion) -> list[str]:
    """Return a line for each problem of the files and folders that data-parallel runs name."""
    found: dict[str, None] = {}
    for sweep, ids in expansion.sweeps.items():
        if expansion.runs[ids[0]].kind != "ddp":
            continue
        from scripts.lib.config.ddp import TextData
        from scripts.lib.ddp.files import missing_names, problems_of

        runs = [json.loads(expansion.runs[run].settings) for run in ids]
        settings = runs[0]
        data = TextData.model_validate(settings["dataset"])
        labelled = settings["task"] == "sequence_classification"
        lines = [f"dataset.{line}" for line in problems_of(data, labelled)]
        for run in runs:
            lines += missing_names(run["tokenizer"], None if run["size"] else run["model"])
        found |= {f"sweeps.{sweep}.{line}": None for line in lines}
    return list(found)


def _questions(expansion: Expansion) -> list[str]:
    """Return a line for each problem of the files that accuracy runs name: data, checkpoints."""
    found: dict[str, None] = {}
    for sweep, ids in expansion.sweeps.items():
        if expansion.runs[ids[0]].kind != "accuracy":
            continue
        from scripts.lib.accuracy.files import problems_of, problems_of_model
        from scripts.lib.config.accuracy_measurement import AccuracyData

        settings = json.loads(expansion.runs[ids[0]].settings)
        data = AccuracyData.model_validate(settings["dataset"])
        found |= {f"sweeps.{sweep}.dataset.{line}": None for line in problems_of(data)}
        models = {json.loads(expansion.runs[run].settings)["model"] for run in ids}
        for model in sorted(models):
            found |= {f"sweeps.{sweep}.{line}": None for line in problems_of_model(model)}
    return list(found)
