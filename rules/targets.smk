"""What a call is to make: results, tables, figures; no rules."""

import json
import re
from pathlib import Path

TRAINING_TABLES = [
    "training",
    "training_by_size",
    "training_by_context_length",
    "training_pivot",
]
TRAINING_FIGURES = [
    "training_time",
    "training_throughput",
    "training_memory",
    "training_utilisation",
    "training_breakdown",
]
DDP_FIGURES = [
    "ddp_step_time",
    "ddp_imbalance",
    "ddp_padding",
    "ddp_loss",
    "ddp_wait",
    "ddp_lengths",
]
ACCURACY_FIGURES = {
    "accuracy_knobs": "Figure: accuracy against each knob",
    "accuracy_pareto": "Figure: accuracy against FLOPs and latency",
    "accuracy_importance": "Figure: importance of the blocks",
    "accuracy_samples": "Figure: images and answers",
    "accuracy_training": "Figure: training of the embedded model",
}

INFERENCE_FIGURES = ["inference_interactivity", "inference_latency"]


def accuracy_figures():
    """Figures of this configuration's accuracy runs, with their labels in the report."""
    absent = {"accuracy_importance"} if not runs_by("importance") else set()
    absent |= {"accuracy_training"} if not runs_by("vlm") else set()
    return {name: label for name, label in ACCURACY_FIGURES.items() if name not in absent}


def tables_of_batches(wildcards):
    return [
        f"results/batches/{sweep}/{batch}.csv"
        for sweep in SWEEPS.sweeps
        for batch in SWEEPS.selected_batches(sweep)
    ]


def targets(wildcards):
    """Everything, or the batches that the call is restricted to.

    The results themselves are among the targets, so that a deleted one is made again.
    """
    if SWEEPS.selected is not None:
        return tables_of_batches(wildcards)
    results = [result_path("results", run.id, run.kind) for run in SWEEPS.runs.values()]
    return [*results, "results/summary.csv", *tables_of_all(), *figures_of_all()]


def kinds():
    return {run.kind for run in SWEEPS.runs.values()}


def compares_modes():
    """Whether the configuration has training runs both with and without a backward pass."""
    modes = {
        settings_of_run(run.id)["mode"] == "forward"
        for run in SWEEPS.runs.values()
        if run.kind == "training"
    }
    return len(modes) == 2


def tables_of_all():
    names = ["overview"]
    if "training" in kinds():
        names += TRAINING_TABLES
        names += ["training_modes"] if compares_modes() else []
    names += ["ddp"] if "ddp" in kinds() else []
    names += ["inference"] if "inference" in kinds() else []
    names += ["accuracy"] if "accuracy" in kinds() else []
    names += ["batch_size"] if batch_sizes_of_all() else []
    return expand("results/tables/{name}.{suffix}", name=names, suffix=["html", "md"])


def figures_of_all():
    names = list(TRAINING_FIGURES) if "training" in kinds() else []
    names += DDP_FIGURES if "ddp" in kinds() else []
    names += INFERENCE_FIGURES if "inference" in kinds() else []
    names += accuracy_figures() if "accuracy" in kinds() else []
    names += ["batch_size"] if batch_sizes_of_all() else []
    return expand("results/figures/{name}.{suffix}", name=names, suffix=["svg", "png"])


def overview_of_results():
    """What was measured on what, for the report's front page; empty before the first summary."""
    try:
        rows = json.loads(Path("results/overview.json").read_text())
    except (OSError, ValueError):
        return []
    sweeps = CONFIG.sweeps
    return [
        row | {"description": plain_text(sweeps[row["sweep"]].description)}
        for row in rows
        if row["sweep"] in sweeps
    ]


def plain_text(text):
    """Text that reStructuredText shows as it is."""
    return re.sub(r"([\\*_`|<>:])", r"\\\1", " ".join(text.split()))
