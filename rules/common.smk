"""Look-up of runs and batches for the rules of all kinds; no rules."""

import json
from functools import cache
from pathlib import Path
from types import SimpleNamespace

from scripts.lib.batch_size import result as batch_size_result
from scripts.lib.config import RUN_PATTERN
from scripts.lib.kinds.registry import KINDS
from scripts.lib.results.files import write_text


localrules:
    all,


wildcard_constraints:
    run=RUN_PATTERN,
    sweep=r"[\w.-]+",
    batch=r"0|[1-9]\d*",


def run_of(wildcards):
    """The run that a path names; exits with a message for unknown ones."""
    if wildcards.run not in SWEEPS.runs:
        sys.exit(f"no sweep of this configuration has the run {wildcards.run}")
    return SWEEPS.runs[wildcards.run]


def kind_of(wildcards):
    """The kind of the run that a path names."""
    return KINDS[run_of(wildcards).kind]


def run_json(wildcards):
    """Content of run.json; in `params` it makes exactly the changed runs stale."""
    return run_of(wildcards).json


def measurement_version(wildcards):
    """Version of what a run's measurement means; raising it measures the kind's runs again."""
    return kind_of(wildcards).measurement_version


def settings_of(wildcards):
    return settings_of_run(run_of(wildcards).id)


@cache
def settings_of_run(run):
    return json.loads(SWEEPS.runs[run].settings)


def runs_of(kind):
    """Ids and settings of the runs of a kind."""
    return {r.id: settings_of_run(r.id) for r in SWEEPS.runs.values() if r.kind == kind}


def first_runs(kind, digest):
    """The first run of each thing that runs of a kind share; `digest` names it, or is empty."""
    runs = {}
    for run, settings in runs_of(kind).items():
        if shared := digest(settings):
            runs.setdefault(shared, run)
    return runs


def input_data_of(wildcards):
    """The file that a run and its probes are fed with, made by a rule or the user's own."""
    return in_place(kind_of(wildcards).input_data(settings_of(wildcards)))


def user_files_of(wildcards):
    """Further files of the user's; a changed file invalidates every run that depends on it."""
    return in_place(kind_of(wildcards).user_files(settings_of(wildcards)))


def in_place(files):
    """Files as inputs: a module's prefix is for what its rules make, not for the user's files."""
    if RESULTS == "results":
        return files
    return [f if f.startswith("results/") else str(Path(f).absolute()) for f in files]


def searches_batch_size(run):
    return KINDS[SWEEPS.runs[run].kind].searches(settings_of_run(run))


def batch_size_of(wildcards):
    """The largest batch of a run where it is asked for; a number bypasses the search."""
    if searches_batch_size(wildcards.run):
        return f"results/runs/{wildcards.run}/batch_size.json"
    return []


def option(name, *values):
    """An option and its values where there are any, for the shell."""
    given = [value for value in values if value]
    return [name, *given] if given else []


def batch_size_option(wildcards, input):
    """`--batch-size` with the search's result, for runs that ask for their largest batch."""
    return option("--batch-size", input.batch_size)


@cache
def batches_of(sweep):
    if sweep not in SWEEPS.sweeps:
        sys.exit(f"no sweep {sweep}; there are: {', '.join(SWEEPS.sweeps)}")
    return SWEEPS.batches(sweep)


def selected_runs(sweep):
    """Runs of a sweep in the batches that the call is restricted to; all without a selection."""
    batches = batches_of(sweep)
    return [run for number in SWEEPS.selected_batches(sweep) for run in batches[number]]


def batch_json(wildcards):
    """Content of a batch file: the runs that its table must hold."""
    batches = batches_of(wildcards.sweep)
    number = int(wildcards.batch)
    if number >= len(batches):
        sys.exit(f"sweep {wildcards.sweep} has the batches 0 to {len(batches) - 1}, not {number}")
    return json.dumps(
        {
            "sweep": wildcards.sweep,
            "batch": number,
            "kind": SWEEPS.runs[batches[number][0]].kind,
            "runs": batches[number],
        }
    )


def write_batch_files():
    """Bring the lists of runs up to date where a failed call did not get to it."""
    for sweep in SWEEPS.sweeps:
        for batch in range(len(batches_of(sweep))):
            path = Path(f"results/batches/{sweep}/{batch}.json")
            content = batch_json(SimpleNamespace(sweep=sweep, batch=batch)) + "\n"
            if not path.exists() or path.read_text() != content:
                write_text(path, content)


def result_of_run(run):
    return KINDS[SWEEPS.runs[run].kind].result_path("results", run)


def results_of_batch(wildcards):
    return [result_of_run(run) for run in json.loads(batch_json(wildcards))["runs"]]


def batch_counts(wildcards=None):
    """Sweeps and their numbers of batches, short enough for a command line."""
    return [f"{sweep}:{len(batches_of(sweep))}" for sweep in SWEEPS.sweeps]
