"""A server that speaks the protocol of the real ones and does exactly what it is told.

    python tests/scripted_server.py --port 8000 --ttft 0.05 --itl 0.01 --times times.jsonl

It writes when each request came and each token left, on the clock that the client uses, too.
"""

import argparse
import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from aiohttp import web

options: argparse.Namespace
count = 0


async def health(request: web.Request) -> web.Response:
    return web.Response(status=200 if options.healthy else 503)


async def completions(request: web.Request) -> web.StreamResponse:
    global count
    came = time.perf_counter()
    count += 1
    number = count
    body = await request.json()
    if options.die_at and number >= options.die_at:
        os.kill(os.getpid(), signal.SIGKILL)
    if options.fail_every and number % options.fail_every == 0:
        told = f" for {key}" if (key := request.headers.get("Authorization")) else ""
        return web.Response(status=500, text=f"scripted failure{told}")
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    await response.write(b": a comment\n\ndata: " + event(role="assistant") + b"\n\n")
    if options.first_event:
        await response.write(b"data: " + options.first_event.encode() + b"\n\n")
    sent = []
    tokens = body["max_tokens"] - options.short
    for token in range(tokens):
        await asyncio.sleep(options.itl if token else options.ttft)
        if options.stall_after and token == options.stall_after:
            await asyncio.sleep(3600)
        sent.append(time.perf_counter())
        text = options.texts[token % len(options.texts)]
        if options.at_once:
            text = text * tokens if token == tokens - 1 else ""
        await response.write(b"data: " + event(text=text) + b"\n\n")
    made = tokens if options.usage is None else options.usage
    usage = {"completion_tokens": made, "prompt_tokens": body["prompt"].count(" ")}
    await response.write(b"data: " + event(text="", ends=options.end, usage=usage) + b"\n\n")
    if options.done:
        await response.write(b"data: [DONE]\n\n")
    if options.times:
        line = {
            "came": came, "sent": sent, "prompt": body["prompt"], "body": body,
            "key": request.headers.get("Authorization"),
        }  # fmt: skip
        with Path(options.times).open("a") as file:
            file.write(json.dumps(line) + "\n")
    return response


def event(role=None, text=None, ends=None, usage=None) -> bytes:
    choice = {"index": 0, "finish_reason": ends}
    if options.reasoning and text:
        choice |= {"text": "", "delta": {"reasoning_content": text}}
    else:
        choice |= {"delta": {"role": role}} if role else {"text": text}
    return json.dumps({"choices": [choice], **({"usage": usage} if usage else {})}).encode()


def main() -> None:
    global options
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    for name in ("--ttft", "--itl"):
        parser.add_argument(name, type=float, default=0.0)
    for name in ("--fail-every", "--stall-after", "--short", "--die-at"):
        parser.add_argument(name, type=int, default=0)
    parser.add_argument("--times")
    parser.add_argument("--first-event", help="JSON of one more event, the first")
    parser.add_argument("--texts", type=json.loads, default=[" the"], help="JSON, in turn")
    parser.add_argument("--usage", type=int, help="tokens that it says it made")
    parser.add_argument("--end", default="length", help="finish_reason of the last event")
    parser.add_argument("--no-done", dest="done", action="store_false")
    parser.add_argument("--at-once", action="store_true", help="all text in the last event")
    parser.add_argument("--reasoning", action="store_true", help="send reasoning, no text")
    parser.add_argument("--unhealthy", dest="healthy", action="store_false")
    parser.add_argument("--exit", type=int, help="end at once with this code and a last word")
    parser.add_argument("--last-words", default="the scripted server cannot find its weights")
    parser.add_argument("--stubborn", action="store_true", help="ignore SIGTERM, leave a child")
    parser.add_argument("--plain-bind", action="store_true", help="bind without SO_REUSEADDR")
    options = parser.parse_args()
    if options.exit is not None:
        print(options.last_words, flush=True)
        sys.exit(options.exit)
    if options.stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        # A worker in a session of its own, as serving frameworks have them.
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"],
                         start_new_session=True)  # fmt: skip
    app = web.Application()
    app.add_routes([web.get("/health", health), web.post("/v1/completions", completions)])
    listener = socket.socket()
    if not options.plain_bind:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", options.port))
    web.run_app(app, sock=listener, print=None, handle_signals=not options.stubborn)


if __name__ == "__main__":
    main()
