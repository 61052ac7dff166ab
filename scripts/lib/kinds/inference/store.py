"""What a server's points share on disk: who is wanted, and what is measured but not yet fetched.

The first job that needs a point of a server measures all points that the workflow wants of it, so
that the server starts once; the jobs after it find theirs here. `FOLDER` is one server's:

    wanted.json           runs to measure, written when the workflow starts
    measured/{run}.json   results that no job has fetched yet, with {run}.parquet
"""

import fcntl
import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from scripts.lib.kinds.inference.client import Record
from scripts.lib.kinds.inference.config import WANTED, InferenceRun
from scripts.lib.kinds.inference.result import MEASUREMENT_VERSION, InferenceResult
from scripts.lib.results.files import atomic_path, write_text
from scripts.lib.results.reading import read_result
from scripts.lib.schema.errors import InputError
from scripts.lib.sweeps.run_file import parse_run

log = logging.getLogger(__name__)

REQUESTS = "requests.parquet"
_SCHEMA = pa.schema(
    [
        ("prompt_tokens", pa.int64()),
        ("output_tokens", pa.int64()),
        ("usage_prompt_tokens", pa.int64()),
        ("usage_tokens", pa.int64()),
        ("sent_s", pa.float64()),
        ("queued_ms", pa.float64()),
        ("chunks_ms", pa.list_(pa.float64())),
        ("e2el_ms", pa.float64()),
        ("error", pa.string()),
    ]
)


def write_result(
    path: Path, requests: Path, result: InferenceResult, records: list[Record]
) -> None:
    """Write a result and its requests; the result last, so that it stands for both."""
    columns = {name: [getattr(r, name) for r in records] for name in _SCHEMA.names}
    with atomic_path(requests) as temporary:
        pq.write_table(pa.table(columns, schema=_SCHEMA), temporary)
    write_text(path, result.model_dump_json(indent=1) + "\n")


@contextmanager
def hold(folder: Path, base_url: str | None = None) -> Iterator[None]:
    """Let one job at a time measure on a server; the kernel frees the lock when its holder ends.

    A server that runs elsewhere, at `base_url`, is one whatever the settings it is measured with.
    On a file system without locks there is none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "lock"
    if base_url:
        digest = hashlib.sha256(base_url.encode()).hexdigest()[:8]
        path = folder.with_name(f"address-{digest}.lock")
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            log.warning("%s: not locked (%s)", path, error)
        yield


def fetch(folder: Path, run_id: str, run: InferenceRun, output: Path) -> InferenceResult | None:
    """Move a measured point to `output`; None when it is not there or not of this run."""
    measured = folder / "measured" / f"{run_id}.json"
    result = _current(measured, run_id, run)
    if result is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        requests = measured.with_suffix(".parquet")
        if requests.exists():
            requests.replace(output.with_name(REQUESTS))
        measured.replace(output)
    return result


def wanted(folder: Path, results_of: Path) -> dict[str, InferenceRun]:
    """Runs that are wanted of a server, neither measured nor, since they were wanted, fetched."""
    path = folder / WANTED
    try:
        texts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        since = path.stat().st_mtime_ns
    except (OSError, ValueError):
        return {}
    runs = {}
    for run_id, text in texts.items():
        _, run = parse_run(text, path, {"inference": InferenceRun})
        fetched = results_of / run_id / "inference.json"
        done = fetched.exists() and fetched.stat().st_mtime_ns > since
        if not done and _current(folder / "measured" / f"{run_id}.json", run_id, run) is None:
            runs[run_id] = run
    return runs


def _current(path: Path, run_id: str, run: InferenceRun) -> InferenceResult | None:
    if not path.exists():
        return None
    try:
        result = read_result(path, InferenceResult)
    except InputError:
        return None
    same = (result.run, result.settings) == (run_id, run)
    return result if same and result.measurement_version == MEASUREMENT_VERSION else None
