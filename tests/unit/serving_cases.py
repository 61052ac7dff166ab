"""Runs against the scripted server, as real processes."""

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from pathlib import Path

import psutil

from scripts.lib.config.runs import run_id
from scripts.lib.kinds.inference.config import InferenceRun
from scripts.lib.kinds.inference.server import OWNER

SERVER = str(Path(__file__).parents[1] / "scripted_server.py")


def launch_of(*options: str) -> dict:
    return {
        "command": [sys.executable, SERVER, "--port", "{port}", *options],
        "devices": ["cpu"],
        "health": "/health",
    }


def served_run(
    *options: str, conc: int = 2, osl: int = 8, runner: str = "cpu", server=None, **load
) -> InferenceRun:
    """A run whose server is the scripted one with these options."""
    launch = None if server and "base_url" in server else launch_of(*options)
    return InferenceRun.model_validate(
        {
            "image": "none", "model": "embedded", "model_prefix": "m", "precision": "fp32",
            "framework": "scripted", "runner": runner, "isl": 16, "osl": osl, "tp": 1, "ep": 1,
            "dp_attn": False, "conc": conc, "max_model_len": 64, "exp_name": "m",
            "load": {"prompts_per_conc": 10, "warmups_per_conc": 1, **load},
            "server": {"device": "cpu", "start_timeout_s": 30, "launch": launch, **(server or {})},
        }
    )  # fmt: skip


def write_run(folder: Path, run: InferenceRun, name: str = "run.json") -> Path:
    settings = run.model_dump(mode="json")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(json.dumps({"run": run_id(settings), "settings": settings}))
    return path


def served_processes() -> list[psutil.Process]:
    """Processes of all servers that jobs of these tests started."""
    found = []
    for process in psutil.process_iter():
        try:
            told = process.environ()
            ours = OWNER in told and told.get("SWEEPMAKE_LOCKS") == os.environ["SWEEPMAKE_LOCKS"]
            if ours and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


@contextmanager
def scripted_server(*options: str):
    """The scripted server in a process of its own; yields its address."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, SERVER, "--port", str(port), *options])
    try:
        end = time.monotonic() + 30
        while time.monotonic() < end:
            with closing(socket.socket()) as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()
