"""How much can the load client do before it is itself what is measured?

    python -m benchmarks.client --rounds 3

A server that computes nothing answers in another process over the same protocol; both run on the
same machine. The client is one thread, so its ceiling is what one core can do: chunks per second
(long answers) and requests per second (answers of one token), divided by the share of a core that
it used. With `--result benchmark.json` it says how much of that ceiling a measured point used.
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

from scripts.lib.config.inference import Load
from scripts.lib.serving.client import LoadRun, Target, run_load
from scripts.lib.serving.prompts import Prompt
from scripts.lib.serving.server import HOST, reserve_port

CHUNKS = 256


def serve_nothing(port: int) -> None:
    """Answer every request at once with the events of a stream."""
    from aiohttp import web

    event = json.dumps({"choices": [{"index": 0, "text": " word", "finish_reason": None}]})
    end = json.dumps({"choices": [{"index": 0, "text": "", "finish_reason": "length"}]})

    async def answer(request: web.Request) -> web.StreamResponse:
        tokens = (await request.json())["max_tokens"]
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for _ in range(tokens):
            await response.write(f"data: {event}\n\n".encode())
            await asyncio.sleep(0)  # each event leaves alone, as a token does
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


def load(url: str, count: int, tokens: int, conc: int) -> LoadRun:
    """Send `count` requests for `tokens` tokens each."""
    prompts = [Prompt(f" word{i}" * 100, 100) for i in range(count)]
    return run_load(Target(url, "null", tokens), prompts, conc, Load())


def main() -> None:
    """Print the ceilings, and the share of them that a measured point used."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--conc", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--result", nargs="*", default=[], help="results of inference points")
    arguments = parser.parse_args()
    best: dict[str, float] = {"chunks": 0.0, "requests": 0.0}
    print("conc  chunks/s  per core  requests/s  per core  (medians)")
    with null_server() as url:
        for conc in arguments.conc:
            found = []
            for _ in range(arguments.rounds):
                long, short = load(url, 4 * max(conc, 25), CHUNKS, conc), load(url, 2000, 1, conc)
                chunks = sum(len(r.chunks_ms) for r in long.records) / long.duration_s
                requests = len(short.records) / short.duration_s
                found.append((chunks, chunks / long.client_cpu_share,
                              requests, requests / short.client_cpu_share))  # fmt: skip
            row = [statistics.median(column) for column in zip(*found, strict=True)]
            best = {k: max(best[k], row[i]) for k, i in (("chunks", 1), ("requests", 3))}
            print(f"{conc:4}  {row[0]:8,.0f}  {row[1]:8,.0f}  {row[2]:10,.0f}  {row[3]:8,.0f}")
    for path in arguments.result:
        metrics = json.loads(Path(path).read_text())["metrics"]
        rates = {"chunks": metrics["output_throughput"], "requests": metrics["request_throughput"]}
        shares = ", ".join(f"{100 * rates[k] / best[k]:.2f} % of {k}/s per core" for k in rates)
        print(f"{path}: {shares}; {100 * metrics['client_cpu_share']:.1f} % of a core")


if __name__ == "__main__":
    main()
