"""How much can the load client do before it is itself what is measured?

    python -m benchmarks.client --rounds 3

A server that computes nothing answers in another process over the same protocol; both run on the
same machine. The client is one thread, so its ceiling is what one core can do: chunks per second
(long answers) and requests per second (answers of one token), divided by the share of a core that
it used. As fast as it can, a server's chunks come many to a read, which costs less than what real
servers do; paced, each chunk leaves a while after the one before and is a read of its own. That
ceiling is the one that counts. With `--result inference.json` it says how much of it a measured
point used.
"""

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import Process
from pathlib import Path
from urllib.request import urlopen

from scripts.lib.kinds.inference.client import LoadRun, Target, run_load
from scripts.lib.kinds.inference.config import Load
from scripts.lib.kinds.inference.prompts import Prompt
from scripts.lib.kinds.inference.server import HOST, reserve_port

CHUNKS = 256
# Of the paced server, between the chunks of an answer, as between the tokens of a fast real one.
PACE_SECONDS = 0.005


def serve_nothing(port: int) -> None:
    """Answer every request at once with the events of a stream."""
    from aiohttp import web

    event = json.dumps({"choices": [{"index": 0, "text": " word", "finish_reason": None}]})
    end = json.dumps({"choices": [{"index": 0, "text": "", "finish_reason": "length"}]})

    async def answer(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        tokens, pace = body["max_tokens"], body.get("pace_seconds", 0)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for _ in range(tokens):
            await response.write(f"data: {event}\n\n".encode())
            await asyncio.sleep(pace)
        await response.write(f"data: {end}\n\ndata: [DONE]\n\n".encode())
        return response

    async def health(request: web.Request) -> web.Response:
        return web.Response()

    app = web.Application()
    app.add_routes([web.post("/v1/completions", answer), web.get("/health", health)])
    web.run_app(app, host=HOST, port=port, print=None, reuse_address=True)


@contextmanager
def null_server() -> Iterator[str]:
    """Run the server that computes nothing in a process of its own; yields its address."""
    held = reserve_port()
    port = held.getsockname()[1]
    process = Process(target=serve_nothing, args=(port,), daemon=True)
    process.start()
    end = time.monotonic() + 30
    while time.monotonic() < end:
        with suppress(OSError), urlopen(f"http://{HOST}:{port}/health"):
            break
        time.sleep(0.05)
    try:
        yield f"http://{HOST}:{port}"
    finally:
        process.kill()
        process.join()
        held.close()


def load(url: str, count: int, tokens: int, conc: int, pace: float = 0) -> LoadRun:
    """Send `count` requests for `tokens` tokens each, `pace` seconds apart."""
    prompts = [Prompt(f" word{i}" * 100, 100) for i in range(count)]
    return run_load(Target(url, "null", tokens, {"pace_seconds": pace}), prompts, conc, Load())


def chunks_and_reads(run: LoadRun) -> tuple[int, int]:
    """Count the chunks that came, and the reads that brought them: chunks of one have one time."""
    chunks = [time for record in run.records for time in record.chunks_ms]
    reads = [time for record in run.records for time in set(record.chunks_ms)]
    return len(chunks), len(reads)


def measured(run: LoadRun) -> tuple[float, ...]:
    """Chunks per second, the same per core, and chunks of a read."""
    chunks, reads = chunks_and_reads(run)
    rate = chunks / run.duration_s
    return rate, rate / run.client_cpu_share, chunks / reads


def medians(rows: list[tuple[float, ...]]) -> list[float]:
    """Median of each column."""
    return [statistics.median(column) for column in zip(*rows, strict=True)]


def main() -> None:
    """Print the ceilings, and the share of them that a measured point used."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--conc", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--result", nargs="*", default=[], help="results of inference points")
    arguments = parser.parse_args()
    best: dict[str, float] = {"chunks": 0.0, "requests": 0.0}
    print("conc  way           chunks/s  per core  a read  requests/s  per core  (medians)")
    with null_server() as url:
        for conc in arguments.conc:
            fast, paced = [], []
            for _ in range(arguments.rounds):
                fast.append(measured(load(url, 4 * max(conc, 25), CHUNKS, conc)))
                paced.append(measured(load(url, 2 * conc, CHUNKS, conc, PACE_SECONDS)))
                short = load(url, 2000, 1, conc)
                requests = len(short.records) / short.duration_s
                fast[-1] += (requests, requests / short.client_cpu_share)
            told = {"fast as it can": medians(fast), "paced": medians(paced)}
            best["chunks"] = max(best["chunks"], told["paced"][1])
            best["requests"] = max(best["requests"], told["fast as it can"][4])
            for way, row in told.items():
                rates = "".join(f"  {value:10,.0f}" for value in row[3:])
                print(f"{conc:4}  {way:14}{row[0]:8,.0f}  {row[1]:8,.0f}  {row[2]:6.1f}{rates}")
    for path in arguments.result:
        metrics = json.loads(Path(path).read_text())["metrics"]
        rates = {"chunks": metrics["output_throughput"], "requests": metrics["request_throughput"]}
        shares = ", ".join(f"{100 * rates[k] / best[k]:.2f} % of {k}/s per core" for k in rates)
        print(f"{path}: {shares}; {100 * metrics['client_cpu_share']:.1f} % of a core")


if __name__ == "__main__":
    main()
