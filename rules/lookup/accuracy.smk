"""Look-up of embedded models, importances of blocks and sweeps, for the rules of this kind; no rules."""

from scripts.lib.kinds.accuracy.shared import (
    importance_digest,
    importance_settings,
    vlm_digest,
    vlm_settings,
)


@cache
def runs_by_vlm():
    """The first run of each embedded model."""
    return first_runs("accuracy", lambda run: run["embedded"] and vlm_digest(run))


@cache
def runs_by_importance():
    """The first run that rests on each importance of blocks."""
    return first_runs("accuracy", lambda run: run["importance"] and importance_digest(run))


def first_settings(runs, name, digest):
    """Settings of the first run that shares something; exits with a message where none does."""
    if digest not in runs:
        sys.exit(f"no run of this configuration has {name} {digest}")
    return settings_of_run(runs[digest])


def settings_of_vlm(wildcards):
    return first_settings(runs_by_vlm(), "vlm", wildcards.vlm)


def settings_of_importance(wildcards):
    return first_settings(runs_by_importance(), "importance", wildcards.importance)


def checkpoint_of_importance(wildcards):
    return in_place(KINDS["accuracy"].input_data(settings_of_importance(wildcards)))


def files_of_importance(wildcards):
    return in_place(KINDS["accuracy"].user_files(settings_of_importance(wildcards)))


def importance_gpu(wildcards):
    """One GPU, where the runs that rest on it have any: blocks are left out on one rank."""
    settings = settings_of_importance(wildcards)
    return gpus(settings["device"], 1)


def importance_of(wildcards):
    """The importance of blocks that a run rests on, if any."""
    settings = settings_of(wildcards)
    if not settings["importance"]:
        return []
    return f"results/data/importance-{importance_digest(settings)}/importance.json"


def accuracy_sweeps():
    """Names of the sweeps of this kind."""
    return [s for s, runs in SWEEPS.sweeps.items() if runs[0] in runs_of("accuracy")]


EXPORTS.append(
    lambda: expand("results/accuracy/{sweep}/accuracy_results.json", sweep=accuracy_sweeps())
)
