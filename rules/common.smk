"""Look-up of runs, and what rules take of them; no rules."""

import json
import shlex
from functools import cache
from pathlib import Path
from types import SimpleNamespace

from scripts.lib.config import RUN_PATTERN
from scripts.lib.config.accuracy_measurement import EMBEDDED
from scripts.lib.config.accuracy_shared import (
    importance_digest,
    importance_settings,
    vlm_digest,
    vlm_settings,
)
from scripts.lib.config.checkpoints import files_in
from scripts.lib.config.ddp import text_digest, text_inputs
from scripts.lib.config.inference import EMBEDDED_MODEL, WANTED
from scripts.lib.config.runs import server_id
from scripts.lib.results import batch_size as batch_size_result
from scripts.lib.results.files import write_text
from scripts.lib.results.kinds import MEASUREMENT_VERSIONS, result_path

# Raised when tables or figures change, so that they are made again.
PRESENTATION_VERSION = 6


localrules:
    all,


wildcard_constraints:
    run=RUN_PATTERN,
    sweep=r"[\w.-]+",
    batch=r"0|[1-9]\d*",
    vocab=r"\d+",
    text=r"[0-9a-f]{8}",
    vlm=r"[0-9a-f]{8}",
    importance=r"[0-9a-f]{8}",


def run_of(wildcards):
    """The run that a path names, or the first one with the model or the importance it names.

    Unknown ones are told, not a KeyError.
    """
    for name in ("vlm", "importance"):
        if digest := getattr(wildcards, name, None):
            if digest not in runs_by(name):
                sys.exit(f"no run of this configuration has {name} {digest}")
            return SWEEPS.runs[runs_by(name)[digest]]
    if wildcards.run not in SWEEPS.runs:
        sys.exit(f"no sweep of this configuration has the run {wildcards.run}")
    return SWEEPS.runs[wildcards.run]


def run_json(wildcards):
    """Content of run.json; in `params` it makes exactly the changed runs stale."""
    return run_of(wildcards).json


def measurement_version(wildcards):
    """Version of what a run's measurement means; raising it measures the kind's runs again."""
    return MEASUREMENT_VERSIONS[run_of(wildcards).kind]


def settings_of(wildcards):
    return settings_of_run(run_of(wildcards).id)


@cache
def settings_of_run(run):
    return json.loads(SWEEPS.runs[run].settings)


def tokens_of(wildcards):
    """The token file of a training run: the user's, or the embedded one for its vocabulary.

    Of a data-parallel run the text, of an accuracy run the embedded model.
    """
    settings = settings_of(wildcards)
    if settings["kind"] == "accuracy":
        return embedded_vlm_of(wildcards)
    if settings["kind"] == "ddp":
        return f"results/data/text-{text_digest(settings)}/meta.json"
    if settings["kind"] != "training":
        return []
    return settings["data_path"] or f"results/data/tokens-{settings['vocab']}.npy"


def model_of(wildcards):
    """The embedded model, for a served run that names it."""
    return (
        "results/data/embedded-model"
        if settings_of(wildcards).get("model") == EMBEDDED_MODEL
        else []
    )


def serving_options(wildcards):
    """Options of an inference run: the folder that the points of its server share."""
    if run_of(wildcards).kind != "inference":
        return []
    return ["--server-dir", server_dir_of(wildcards)]


def server_dir_of(wildcards):
    return f"results/servers/{server_of_run(wildcards.run)}"


@cache
def server_of_run(run):
    return server_id(settings_of_run(run))


def write_wanted(workflow):
    """Tell the servers which of their points this call measures: they start once for all."""
    wanted = {}
    for job in workflow.dag.needrun_jobs():
        if job.rule.name == "benchmark" and run_of(job.wildcards).kind == "inference":
            runs = wanted.setdefault(server_dir_of(job.wildcards), {})
            runs[job.wildcards.run] = run_json(job.wildcards)
    for folder, runs in wanted.items():
        write_text(Path(folder, WANTED), json.dumps(runs))


def batch_size_of(wildcards):
    """The largest batch of a run where it is asked for; a number bypasses the search."""
    if searches_batch_size(wildcards.run):
        return f"results/runs/{wildcards.run}/batch_size.json"
    return []


@cache
def runs_by_text():
    """The first data-parallel run of each text."""
    runs = {}
    for run in SWEEPS.runs.values():
        if run.kind == "ddp":
            runs.setdefault(text_digest(settings_of_run(run.id)), run.id)
    return runs


def run_of_text(wildcards):
    if wildcards.text not in runs_by_text():
        sys.exit(f"no run of this configuration has the text {wildcards.text}")
    return runs_by_text()[wildcards.text]


def first_run_of_text(wildcards):
    return ancient(f"results/runs/{run_of_text(wildcards)}/run.json")


def text_files_of(wildcards):
    """The user's files of a text; one that changes is read anew."""
    return text_inputs(settings_of_run(run_of_text(wildcards)))


@cache
def runs_by(name):
    """The first accuracy run of each embedded model, or of each importance of blocks."""
    key, digest = {
        "vlm": ("embedded", vlm_digest),
        "importance": ("importance", importance_digest),
    }[name]
    runs = {}
    for run in SWEEPS.runs.values():
        if run.kind == "accuracy" and settings_of_run(run.id)[key]:
            runs.setdefault(digest(settings_of_run(run.id)), run.id)
    return runs


def shared_settings(wildcards):
    """JSON text of what decides a shared embedded model or importance, whichever run is first."""
    settings = settings_of(wildcards)
    named = hasattr(wildcards, "importance")
    return json.dumps(importance_settings(settings) if named else vlm_settings(settings))


def embedded_vlm_of(wildcards):
    """What training the embedded model ended with, for runs that have it."""
    settings = settings_of(wildcards)
    if settings["model"] != EMBEDDED:
        return []
    return f"results/data/vlm-{vlm_digest(settings)}/training.json"


def importance_of(wildcards):
    """The importance of blocks that a run rests on, if any."""
    settings = settings_of(wildcards)
    if not settings["importance"]:
        return []
    return f"results/data/importance-{importance_digest(settings)}/importance.json"


def model_files_of(wildcards):
    """Files of a model that is a folder of the user's; with one that changes all is made anew."""
    settings = settings_of(wildcards)
    return files_in(settings.get("model")) if not settings.get("size") else []


def data_files_of(wildcards):
    """The user's files of questions; one that changes is evaluated anew."""
    return settings_of(wildcards)["dataset"]["data_files"] or []


def embedded_vlm_curves(wildcards):
    return [f"results/data/vlm-{digest}/training.csv" for digest in runs_by("vlm")]


def importances(wildcards):
    return [f"results/data/importance-{digest}/importance.json" for digest in runs_by("importance")]


def option(name, *values):
    """An option and its values where there are any, for the shell."""
    given = [value for value in values if value]
    return [name, *given] if given else []


def results_of(kind):
    return [
        result_path("results", run.id, run.kind) for run in SWEEPS.runs.values() if run.kind == kind
    ]


def sweeps_of(kind):
    return [s for s, runs in SWEEPS.sweeps.items() if SWEEPS.runs[runs[0]].kind == kind]


def batch_files_of(kind):
    """The lists of the runs of a kind."""
    return [
        f"results/batches/{sweep}/{batch}.json"
        for sweep in sweeps_of(kind)
        for batch in range(len(batches_of(sweep)))
    ]


def batch_counts_of(kind):
    return [f"{sweep}:{len(batches_of(sweep))}" for sweep in sweeps_of(kind)]


def ddp_results(wildcards=None):
    return results_of("ddp")


def ddp_batch_files(wildcards):
    return batch_files_of("ddp")


def ddp_batch_counts(wildcards):
    return batch_counts_of("ddp")


def accuracy_results(wildcards=None):
    return results_of("accuracy")


def accuracy_batch_files(wildcards):
    return batch_files_of("accuracy")


def accuracy_batch_counts(wildcards):
    return batch_counts_of("accuracy")


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
    """Bring the lists of runs up to date where a failed call did not come to it."""
    for sweep in SWEEPS.sweeps:
        for batch in range(len(batches_of(sweep))):
            path = Path(f"results/batches/{sweep}/{batch}.json")
            content = batch_json(SimpleNamespace(sweep=sweep, batch=batch)) + "\n"
            if not path.exists() or path.read_text() != content:
                write_text(path, content)


@cache
def batches_of(sweep):
    if sweep not in SWEEPS.sweeps:
        sys.exit(f"no sweep {sweep}; there are: {', '.join(SWEEPS.sweeps)}")
    return SWEEPS.batches(sweep)


def results_of_batch(wildcards):
    runs = json.loads(batch_json(wildcards))["runs"]
    return [result_path("results", run, SWEEPS.runs[run].kind) for run in runs]


def searches_batch_size(run):
    settings = settings_of_run(run)
    return "auto" in (settings.get("batch_size"), settings.get("max_local_batch"))


def batch_sizes_of_all(wildcards=None):
    """The searches of all runs that ask for their largest batch."""
    return [
        f"results/runs/{run}/batch_size.json" for run in SWEEPS.runs if searches_batch_size(run)
    ]


def sweeps_with_search(wildcards=None):
    """The sweeps in which a run asks for its largest batch."""
    return [sweep for sweep, runs in SWEEPS.sweeps.items() if any(map(searches_batch_size, runs))]


def batch_files_with_search(wildcards):
    """The lists of runs of these sweeps."""
    return [
        f"results/batches/{sweep}/{batch}.json"
        for sweep in sweeps_with_search()
        for batch in range(len(batches_of(sweep)))
    ]


def batch_counts_with_search(wildcards):
    return [f"{sweep}:{len(batches_of(sweep))}" for sweep in sweeps_with_search()]


def batch_counts(wildcards):
    """Sweeps and their numbers of batches, short enough for a command line."""
    return [f"{sweep}:{len(batches_of(sweep))}" for sweep in SWEEPS.sweeps]


def program_environment():
    """Shell lines before every command: where the programs are and which Python runs them."""
    variables = {"PYTHONPATH": f"{shlex.quote(workflow.basedir)}${{PYTHONPATH:+:$PYTHONPATH}}"}
    variables["PYTHONSAFEPATH"] = "1"  # a folder `scripts` in the working directory hides nothing
    if not workflow.deployment_settings.deployment_method:
        variables["PATH"] = f"{shlex.quote(str(Path(sys.executable).parent))}:$PATH"
    exports = " ".join(f"{name}={value}" for name, value in variables.items())
    return f"export {exports}; ".replace("{", "{{").replace("}", "}}")
