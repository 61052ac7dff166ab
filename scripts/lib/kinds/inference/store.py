"""What is kept of a server's points: each is measured once, whatever is asked for beside it.

`FOLDER` is one server's:

    measured/{run}.json   the result of a point as soon as it is measured, with {run}.parquet
    points.json           all points that are kept, with the status and version of each

A point that is measured stays; `scripts.collect_point` copies it to where results of runs are.
"""

import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from scripts.lib.kinds.inference.client import Record
from scripts.lib.kinds.inference.config import MEASURED, POINTS, InferenceRun
from scripts.lib.kinds.inference.result import MEASUREMENT_VERSION, InferenceResult
from scripts.lib.results.files import atomic_path, write_text
from scripts.lib.results.reading import read_result
from scripts.lib.schema.errors import InputError

log = logging.getLogger(__name__)

REQUESTS = "requests.parquet"
_SCHEMA = pa.schema(
    [
        ("prompt_tokens", pa.int64()),
        ("output_tokens", pa.int64()),
        ("text_tokens", pa.int64()),
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


def collect(folder: Path, run_id: str, run: InferenceRun, output: Path) -> InferenceResult | None:
    """Copy a measured point and its requests to `output`; None where there is no current one."""
    result = current(folder, run_id, run)
    if result is not None:
        measured = measured_path(folder, run_id)
        with atomic_path(output.with_name(REQUESTS)) as temporary:
            shutil.copyfile(measured.with_suffix(".parquet"), temporary)
        with atomic_path(output) as temporary:
            shutil.copyfile(measured, temporary)
    return result


def current(
    folder: Path, run_id: str, run: InferenceRun, files: Sequence[str] = ()
) -> InferenceResult | None:
    """Return the result of a point that is measured; None where it has to be measured.

    A result older than one of `files`, which are the model's, is that of another model.
    """
    path = measured_path(folder, run_id)
    if not path.exists() or not path.with_suffix(".parquet").exists():
        return None
    if any(Path(file).stat().st_mtime > path.stat().st_mtime for file in files):
        return None
    try:
        result = read_result(path, InferenceResult)
    except InputError as error:
        log.warning("%s", error)
        return None
    same = (result.run, result.settings) == (run_id, run)
    return result if same and result.measurement_version == MEASUREMENT_VERSION else None


def measured_path(folder: Path, run_id: str) -> Path:
    """Return where the result of a point is kept."""
    return folder / MEASURED / f"{run_id}.json"


def adopt(folder: Path, run_id: str, source: Path) -> None:
    """Keep the result in the folder of a run as a measured point, unless there is one.

    Modification times are kept, and the list of points is not newer than its points, so that
    nothing made of them is out of date.
    """
    result, kept = source / "inference.json", measured_path(folder, run_id)
    if not result.exists() or kept.exists():
        return
    kept.parent.mkdir(parents=True, exist_ok=True)
    requests = source / REQUESTS
    if requests.exists():
        shutil.copy2(requests, kept.with_suffix(".parquet"))
    shutil.copy2(result, kept)
    points = folder / POINTS
    former = points.stat().st_mtime_ns if points.exists() else kept.stat().st_mtime_ns
    write_points(folder)
    oldest = min(former, kept.stat().st_mtime_ns)
    os.utime(points, ns=(oldest, oldest))


def write_points(folder: Path, path: Path | None = None) -> dict[str, dict[str, Any]]:
    """Write the list of the points that are kept, of this call or an earlier one; returns it."""
    points = {}
    for measured in sorted((folder / MEASURED).glob("*.json")):
        try:
            result = json.loads(measured.read_bytes())
            points[measured.stem] = {
                name: result[name] for name in ("status", "measurement_version")
            }
        except (ValueError, KeyError, TypeError):
            log.warning("%s: is no result", measured)
    write_text(path or folder / POINTS, json.dumps(points, indent=1) + "\n")
    return points
