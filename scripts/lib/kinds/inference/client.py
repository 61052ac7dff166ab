"""Send requests to a server and record when each part of each answer arrives.

Closed loop: as many requests in flight as the concurrency, a new one as soon as one ends. Open
loop: requests at random (Poisson) times of a rate, with at most the concurrency in flight.
"""

import asyncio
import itertools
import json
import os
import random
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from scripts.lib.kinds.inference.config import Load
from scripts.lib.kinds.inference.prompts import Prompt
from scripts.lib.runtime.session import many_open_files

# The value is sent to the server and stands in no file and no log.
API_KEY_VARIABLE = "SWEEPMAKE_API_KEY"
CONNECT_SECONDS = 10.0
MAX_FAILED_SHARE = 0.05
# How an answer ends that is whole, by the servers' protocols; any other end is a failure.
GOOD_ENDS = {"stop", "length", "eos", "eos_token", "stop_sequence", "tool_calls", "function_call"}


@dataclass
class Record:
    """One request. Times are milliseconds; `sent_s` is seconds after the start of the load.

    `chunks_ms` are the times after sending at which text arrived. `error` is empty when the
    answer came whole. `usage_tokens` is what the server says that it made, `text_tokens` what the
    tokenizer finds in the text, and `output_tokens` the one of them that counts.
    """

    prompt_tokens: int
    sent_s: float = 0.0
    queued_ms: float = 0.0
    chunks_ms: list[float] = field(default_factory=list)
    e2el_ms: float | None = None
    text: str = ""
    output_tokens: int | None = None
    text_tokens: int | None = None
    usage_tokens: int | None = None
    usage_prompt_tokens: int | None = None
    error: str = ""


@dataclass(frozen=True)
class LoadRun:
    """Records of a load, how long it took, and the share of one core that this client used."""

    records: list[Record]
    duration_s: float
    client_cpu_share: float


@dataclass(frozen=True)
class Target:
    """Where requests go and what they have in common."""

    url: str
    model: str
    output_tokens: int
    extra: Mapping[str, Any] = field(default_factory=dict)


def run_load(
    target: Target,
    prompts: Sequence[Prompt],
    conc: int,
    load: Load,
    allowed_failures: float = MAX_FAILED_SHARE,
) -> LoadRun:
    """Send all prompts and return what came back, in the order of the prompts.

    More than `allowed_failures` (a share) failed requests end the load early: what was not sent
    then has no record.
    """
    with many_open_files():
        return asyncio.run(_run_load(target, prompts, conc, load, allowed_failures))


async def _run_load(
    target: Target, prompts: Sequence[Prompt], conc: int, load: Load, allowed_failures: float
) -> LoadRun:
    timeout = aiohttp.ClientTimeout(
        total=load.request_timeout_s, sock_read=load.stall_timeout_s, sock_connect=CONNECT_SECONDS
    )
    key = os.environ.get(API_KEY_VARIABLE)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    records = [Record(prompt.tokens) for prompt in prompts]
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=False),
        timeout=timeout,
        headers=headers,
        read_bufsize=1 << 20,
    ) as session:
        start, cpu = time.perf_counter(), time.process_time()
        work = _Arrivals(list(zip(prompts, records, strict=True)), load, start)
        most = allowed_failures * len(prompts)

        async def worker() -> None:
            async for prompt, record, due in work:
                if len(failed) > most:
                    return
                await _request(session, target, prompt, record, load, start, due)
                if record.error:
                    failed.append(record)

        failed: list[Record] = []
        await asyncio.gather(*(worker() for _ in range(min(conc, len(prompts)))))
        duration = time.perf_counter() - start
        share = (time.process_time() - cpu) / duration
    sent = [record for record in records if record.e2el_ms is not None or record.error]
    return LoadRun(sent, duration, share)


class _Arrivals:
    """Prompts as they become due, shared by all workers; `due` is seconds on the clock."""

    def __init__(self, work: list[tuple[Prompt, Record]], load: Load, start: float):
        self._work = iter(work)
        self._due = _due_times(load, start)

    def __aiter__(self) -> AsyncIterator[tuple[Prompt, Record, float | None]]:
        return self

    async def __anext__(self) -> tuple[Prompt, Record, float | None]:
        try:
            prompt, record = next(self._work)
        except StopIteration:
            raise StopAsyncIteration from None
        due = next(self._due)
        if due is not None and (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        return prompt, record, due


def _due_times(load: Load, start: float) -> Iterator[float | None]:
    if load.request_rate is None:
        return itertools.repeat(None)
    draw = random.Random(load.seed)
    gaps = (draw.expovariate(load.request_rate) for _ in itertools.count())
    return itertools.accumulate(gaps, initial=start)


async def _request(
    session: aiohttp.ClientSession,
    target: Target,
    prompt: Prompt,
    record: Record,
    load: Load,
    start: float,
    due: float | None,
) -> None:
    body = {
        "model": target.model,
        "prompt": prompt.text,
        "max_tokens": target.output_tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
        **target.extra,
    }
    sent = time.perf_counter()
    record.sent_s = sent - start
    record.queued_ms = (sent - due) * 1000 if due is not None else 0.0
    try:
        async with session.post(f"{target.url}/v1/completions", json=body) as response:
            if response.status != 200:
                told = " ".join(_without_key(await response.text()).split())[:200]
                record.error = f"HTTP {response.status}: {told}"
                return
            await _read_stream(response, record, sent)
    except aiohttp.ConnectionTimeoutError:
        record.error = f"could not connect within {CONNECT_SECONDS:g} s"
    except aiohttp.SocketTimeoutError:
        record.error = f"the answer stalled: nothing came for {load.stall_timeout_s:g} s"
    except TimeoutError:
        record.error = f"no whole answer within {load.request_timeout_s:g} s"
    except (aiohttp.ClientError, OSError, ValueError) as error:
        record.error = _without_key(f"{type(error).__name__}: {error}")[:200]


async def _read_stream(response: aiohttp.ClientResponse, record: Record, sent: float) -> None:
    """Read server-sent events; raises ValueError for what is none."""
    rest, parts, finished, last = b"", [], False, sent
    async for data in response.content.iter_any():
        now = time.perf_counter()
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if not line.startswith(b"data:"):
                continue
            event = line[5:].strip()
            if event == b"[DONE]":
                finished = True
                continue
            text, ends, of_answer = _read_event(json.loads(event), record)
            if text:
                parts.append(text)
                record.chunks_ms.append((now - sent) * 1000)
            if of_answer:  # tokens that print as nothing take their time, too
                last = now
            finished = finished or ends
    record.text = "".join(parts)
    if record.error:
        return
    if not finished:
        record.error = "the answer ended without an end mark"
    elif not parts:
        record.error = "the answer has no text"
    else:
        record.e2el_ms = (last - sent) * 1000


def _read_event(event: dict[str, Any], record: Record) -> tuple[str, bool, bool]:
    """Text of an event, whether it ends the answer, and whether it is a part of it at all."""
    if not isinstance(event, dict):
        raise ValueError(
            f"the server sent an event that is no object: {_without_key(str(event))[:80]}"
        )
    if problem := _problem(event):
        record.error = f"the server told an error: {_without_key(str(problem))[:200]}"
    if isinstance(usage := event.get("usage"), dict):
        record.usage_tokens = _count(usage.get("completion_tokens"))
        record.usage_prompt_tokens = _count(usage.get("prompt_tokens"))
    choices = event.get("choices") or [{}]
    choice = choices[0] if isinstance(choices, list) else None
    delta = choice.get("delta") or {} if isinstance(choice, dict) else None
    if not isinstance(delta, dict):
        raise ValueError(
            f"the server sent choices of another form: {_without_key(str(choices))[:80]}"
        )
    text = choice.get("text") or delta.get("content") or ""
    thought = delta.get("reasoning_content") or delta.get("reasoning")
    thought = thought or choice.get("reasoning_content") or ""
    for part in (thought, text):
        if not isinstance(part, str):
            raise ValueError(f"the server sent a text that is none: {_without_key(str(part))[:80]}")
    end = choice.get("finish_reason")  # empty until the end, for some servers
    if end and end not in GOOD_ENDS:
        record.error = f"the answer ended with finish_reason {_without_key(str(end))[:80]!r}"
    return thought + text, bool(end), bool(event.get("choices"))


def _problem(event: dict[str, Any]) -> Any:
    """Return what an event says that went wrong, in either form that servers have; else None."""
    if event.get("object") == "error":
        return event.get("message") or event
    return event.get("error")


def _without_key(text: str) -> str:
    """Take out the API key, which servers may repeat in what they tell. Before text is cut."""
    key = os.environ.get(API_KEY_VARIABLE)
    return text.replace(key, "***") if key else text


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) else None
