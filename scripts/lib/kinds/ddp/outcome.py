"""From the run directories of a run to its metrics: modes compared, intervals over seeds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from scripts.lib.kinds.ddp.analysis import block_times, per_step, summarise_run
from scripts.lib.kinds.ddp.config import DdpRun
from scripts.lib.kinds.ddp.records import read_evaluation, read_run, read_text_summary
from scripts.lib.kinds.ddp.result import DdpMetrics, ModeMetrics, SeedMetrics, fastest
from scripts.lib.runtime.statistics import positive_interval, ratio_interval
from scripts.lib.schema.errors import InputError

# Fewer pairs of blocks give a bootstrap interval that is far too narrow.
MIN_PAIRS = 6
# Of these a mean over the seeds is told by its own name.
MEANS = tuple(
    name
    for name in ModeMetrics.model_fields
    if name not in ("mode", "seeds") and "gain" not in name and "_ci_" not in name
)


def collect_metrics(
    run: DdpRun, folder_of: Callable[[str, int], Path], **others: Any
) -> DdpMetrics:
    """Read the run directories of all modes and seeds of a run and compare the modes.

    `others` are the fields of the metrics that are not in the run directories. Raises InputError
    when one is missing or not whole.
    """
    records = {
        mode: [_records(run, folder_of(mode, seed)) for seed in run.seeds] for mode in run.modes
    }
    evaluations = {
        mode: [read_evaluation(folder_of(mode, seed)) for seed in run.seeds] for mode in run.modes
    }
    blocks = {mode: _blocks(run, found) for mode, found in records.items()}
    modes = [_mode(run, records, evaluations[mode], blocks, mode) for mode in run.modes]
    text = read_text_summary(folder_of(run.modes[0], run.seeds[0]))
    lengths = np.repeat(np.arange(len(text["length_counts"])), text["length_counts"])
    peaks = [found["peak_mem_mib"].max() for seeds in records.values() for found in seeds]
    p50, p90, p99 = (float(value) for value in np.percentile(lengths, [50, 90, 99]))
    return DdpMetrics(
        **text,
        mean_sample_length=float(lengths.mean()),
        median_sample_length=p50,
        p90_sample_length=p90,
        p99_sample_length=p99,
        max_sample_length=int(lengths.max()),
        peak_memory_mib=float(max(peaks)),
        modes=modes,
        **fastest(modes),
        **others,
    )


def _records(run: DdpRun, folder: Path) -> dict[str, np.ndarray]:
    found = read_run(folder)
    steps, ranks = found["step"].shape
    if (steps, ranks) != (run.steps, run.ranks):
        raise InputError(
            f"{folder}/merged_metrics.csv: has {steps} steps of {ranks} ranks, not {run.steps} of "
            f"{run.ranks}"
        )
    return found


def _mode(
    run: DdpRun,
    records: dict[str, list[dict[str, np.ndarray]]],
    evaluations: list[dict[str, float]],
    blocks: dict[str, np.ndarray],
    mode: str,
) -> ModeMetrics:
    warmup = run.warmup_steps
    summaries = [
        summarise_run(found, warmup) | evaluation
        for found, evaluation in zip(records[mode], evaluations, strict=True)
    ]
    low, high = positive_interval([found["mean_step_time_ms"] for found in summaries]) or (
        None,
        None,
    )
    gains: dict[str, float | None] = dict.fromkeys(
        ("gain", "gain_ci_low", "gain_ci_high", "cpu_gain", "padded_gain")
    )
    if "static" in records and mode != "static":
        gains = _gain(blocks["static"], blocks[mode]) | {
            "cpu_gain": _ratio(records, mode, "cpu_ms", warmup),
            "padded_gain": _ratio(records, mode, "padded_tokens", warmup),
        }
    seeds = [
        _seed(seed, found, summary, warmup)
        for seed, found, summary in zip(run.seeds, records[mode], summaries, strict=True)
    ]
    means = {name: float(np.mean([found[name] for found in summaries])) for name in MEANS}
    return ModeMetrics(
        mode=mode,
        **means,
        **gains,
        mean_step_time_ci_low_ms=low,
        mean_step_time_ci_high_ms=high,
        seeds=seeds,
    )


def _blocks(run: DdpRun, records: list[dict[str, np.ndarray]]) -> np.ndarray:
    """Times of all blocks of all seeds, in order, so that those of two modes pair up."""
    return np.concatenate(
        [block_times(found, run.warmup_steps, run.block_steps) for found in records]
    )


def _gain(static: np.ndarray, own: np.ndarray) -> dict[str, float | None]:
    """Ratio of the mean step times, from the times of paired blocks, and its interval."""
    gain, low, high = ratio_interval(static, own, statistic=np.sum)
    enough = len(own) >= MIN_PAIRS
    return {
        "gain": gain,
        "gain_ci_low": low if enough else None,
        "gain_ci_high": high if enough else None,
    }


def _ratio(
    records: dict[str, list[dict[str, np.ndarray]]], mode: str, column: str, warmup: int
) -> float:
    """Mean of the largest of all ranks: of `static` over that of another mode."""
    static, other = (
        np.mean([found[column][warmup:].max(axis=1).mean() for found in records[name]])
        for name in ("static", mode)
    )
    return float(static / other)


def _seed(
    seed: int, records: dict[str, np.ndarray], summary: dict[str, Any], warmup: int
) -> SeedMetrics:
    steps = per_step(records)
    wait, time = (records[name][warmup:].sum(axis=0) for name in ("wait_ms", "step_time_ms"))
    named = ("step_time_ms", "imbalance", "padding_share", "loss")
    return SeedMetrics(
        seed=seed,
        **{name: [round(float(value), 6) for value in steps[name]] for name in named},
        wait_share=[round(float(value), 6) for value in wait / time],
        **{n: summary[n] for n in ("mean_step_time_ms", "eval_loss", "eval_accuracy")},
    )
