"""Figures of a load from its records; pure."""

import re
from collections.abc import Sequence

import numpy as np

from scripts.lib.kinds.inference.client import LoadRun, Record

# Above this share of one core the client itself may be what is measured.
CLIENT_CPU_LIMIT = 0.8
# Text put through a tokenizer again may come back as a few other tokens.
COUNT_TOLERANCE = 0.02
# Above this ratio of mean to median, some answers waited for something else than their turn.
STALL_RATIO = 1.5
# Runners named after a GPU, such as h200, gb200-nvl72 or mi300x, not after a place.
GPU_RUNNER = re.compile(r"((?:g?[bh]|[alv]|mi)\d{2,3}[a-z]*|[lt]4)(?![a-z0-9])", re.IGNORECASE)
STATISTICS = ("mean", "median", "std", "p90", "p99", "p99_9")


def figures(load: LoadRun, num_gpus: int) -> dict[str, float | int | None]:
    """Latencies (ms), rates (per second), and rates per GPU, of the requests that succeeded.

    ttft is the time to the first text, e2el to the last; tpot = (e2el - ttft) / (tokens - 1) of a
    request; itl are the gaps between the texts of a request, over all requests. intvty is the
    tokens per second that one user sees, 1000 / median tpot. Rates are over the duration of the
    load, from the first request to the end of the last.
    """
    done = [record for record in load.records if not record.error]
    tokens_in = sum(record.prompt_tokens for record in done)
    tokens_out = sum(record.output_tokens or 0 for record in done)
    tpots = [value for record in done if (value := tpot_ms(record)) is not None]
    latencies = {
        "ttft": [record.chunks_ms[0] for record in done],
        "tpot": tpots,
        "itl": [gap for record in done for gap in itl_ms(record)],
        "e2el": [record.e2el_ms for record in done],
    }
    statistics = {
        f"{statistic}_{name}_ms": value
        for name, values in latencies.items()
        for statistic, value in summarize_latency(values).items()
    }
    output, total = tokens_out / load.duration_s, (tokens_in + tokens_out) / load.duration_s
    median = statistics["median_tpot_ms"]
    return {
        **statistics,
        "request_throughput": len(done) / load.duration_s,
        "output_throughput": output,
        "total_token_throughput": total,
        "tput_per_gpu": total / num_gpus,
        "output_tput_per_gpu": output / num_gpus,
        "intvty": 1000 / median if median else None,
        "input_tokens": tokens_in,
        "output_tokens": tokens_out,
        "duration_s": load.duration_s,
    }


def tpot_ms(record: Record) -> float | None:
    """Time per output token after the first, milliseconds.

    None for a single token, and for an answer that came all at once.
    """
    if not record.output_tokens or record.output_tokens < 2 or _at_once(record):
        return None
    return (record.e2el_ms - record.chunks_ms[0]) / (record.output_tokens - 1)


def itl_ms(record: Record) -> list[float]:
    """Gaps between the texts of an answer, milliseconds."""
    return list(np.diff(record.chunks_ms))


def summarize_latency(values: Sequence[float]) -> dict[str, float | None]:
    """Mean, median, standard deviation and high percentiles; none where there is no value."""
    if not len(values):
        return dict.fromkeys(STATISTICS)
    data = np.asarray(values, dtype=float)
    median, p90, p99, p99_9 = (float(v) for v in np.percentile(data, [50, 90, 99, 99.9]))
    std = float(data.std(ddof=1)) if data.size > 1 else 0.0
    return dict(zip(STATISTICS, (float(data.mean()), median, std, p90, p99, p99_9), strict=True))


def wrong_lengths(records: Sequence[Record], asked: int) -> int:
    """Number of answers that are not `asked` tokens long."""
    return sum(1 for record in records if not record.error and record.output_tokens != asked)


def count_output(records: Sequence[Record], text_tokens: Sequence[int], asked: int) -> None:
    """Put into records how many tokens of output they are.

    What the server says that it made counts where it says so: text put through a tokenizer again
    may come back as fewer tokens, and special tokens print as none. `text_tokens`, the tokenizer's
    counts, take its place where the server's is impossible: above the `asked` tokens, or below a
    half of the text.
    """
    for record, tokens in zip(records, text_tokens, strict=True):
        record.text_tokens = tokens
        record.output_tokens = record.usage_tokens if _plausible(record, asked) else tokens


def _plausible(record: Record, asked: int) -> bool:
    usage, text = record.usage_tokens, record.text_tokens or 0
    return usage is not None and max(1, text / 2) <= usage <= asked


def _at_once(record: Record) -> bool:
    """Whether several tokens came and all text at one moment."""
    return (record.output_tokens or 0) > 1 and record.chunks_ms[0] == record.chunks_ms[-1]


def warnings_of(load: LoadRun, asked: int) -> list[str]:
    """What a reader of the figures should know."""
    done = [record for record in load.records if not record.error]
    failed = len(load.records) - len(done)
    found = []
    if failed:
        first = next(record.error for record in load.records if record.error)
        found.append(f"{failed} of {len(load.records)} requests failed, the first: {first}")
    if wrong := wrong_lengths(done, asked):
        lengths = sorted({r.output_tokens for r in done} - {asked})[:5]
        told = ", ".join(map(str, lengths))
        found.append(f"{wrong} answers are not {asked} tokens long, but e.g. {told}")
    if prompts := sum(1 for r in done if r.usage_prompt_tokens not in (None, r.prompt_tokens)):
        found.append(f"the server counts other prompt lengths than the tokenizer in {prompts}")
    told = [(r.usage_tokens, r.text_tokens or 0) for r in done if r.usage_tokens is not None]
    server, own = (sum(counts) for counts in zip(*told, strict=True)) if told else (0, 0)
    if abs(server - own) > COUNT_TOLERANCE * server:
        found.append(
            f"the server made {server} tokens by its own count, {own} by the tokenizer; rates are "
            "of the server's count where it is possible"
        )
    if refused := sum(1 for r in done if r.usage_tokens not in (None, r.output_tokens)):
        found.append(f"the server's count of tokens is impossible in {refused} answers")
    at_once = sum(map(_at_once, done))
    if at_once > len(done) / 2:
        found.append(f"{at_once} answers came all at once: the server does not stream")
    times = [record.e2el_ms for record in done]
    if times and np.mean(times) > STALL_RATIO * np.median(times):
        found.append(
            f"answers took {np.mean(times):.0f} ms on average, {np.median(times):.0f} ms at the "
            "median: the server stalled or the machine was disturbed"
        )
    if load.client_cpu_share > CLIENT_CPU_LIMIT:
        share = round(100 * load.client_cpu_share)
        found.append(f"the client used {share} % of a core: it may be what was measured")
    return found


def other_hardware(runner: str, device_name: str) -> list[str]:
    """A warning where the runner names a GPU and the measured device is not that one."""
    named = GPU_RUNNER.match(runner)
    if named is None:
        return []
    # As a word: a GB200 is no B200.
    same = re.search(rf"(?<![a-z0-9]){named[1]}(?![a-z0-9])", device_name, re.IGNORECASE)
    return [] if same else [f"the runner is {runner}, but the measured device is {device_name}"]
