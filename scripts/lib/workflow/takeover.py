"""Take over results that an earlier version wrote under other names.

Up to version 0.1.0 a run's id hashed all of its settings, defaults included. Such folders are
renamed once to the ids of today, so that an upgrade measures nothing again. A call that is killed
on the way is finished by the next one.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from scripts.lib.config.runs import run_id
from scripts.lib.kinds.registry import KINDS
from scripts.lib.results.files import write_text
from scripts.lib.schema.errors import InputError
from scripts.lib.sweeps.identity import identity_of
from scripts.lib.workflow.lock import WORKFLOW_LOCK, hold_lock, paths_of_records

# Raised when names below the folder of results change; a folder without the file has layout 1.
LAYOUT = "2"
LAYOUT_FILE = ".layout"


def take_over(folder: str | Path = "results", root: str | Path = "") -> str:
    """Rename what an earlier version wrote below a folder of results; returns a line about it.

    Empty where there was nothing to do, or another workflow runs there. Only results whose
    measurement means the same today are renamed; modification times are kept. `root` is the working
    directory of the workflow, of which `folder` is a part. Raises InputError where they cannot be
    renamed.
    """
    folder, root = Path(folder), Path(root)
    marker = folder / LAYOUT_FILE
    with suppress(OSError):
        if marker.read_text() == LAYOUT or not (folder / "runs").is_dir():
            return ""
    if not (folder / "runs").is_dir():
        return ""
    try:
        lock = hold_lock(root / WORKFLOW_LOCK)
    except (InputError, OSError):
        return ""
    try:
        renamed = sum(_take_over_run(path, folder) for path in sorted(folder.glob("runs/*")))
        if renamed:
            _forget(root, folder.relative_to(root))
        with suppress(OSError):  # a folder that cannot be written to
            write_text(marker, LAYOUT)
    except OSError as error:
        raise InputError(
            f"{folder}: results of an earlier version cannot be renamed: {error}"
        ) from None
    finally:
        if lock:
            lock.close()
    return f"{folder}: {renamed} runs of an earlier version were taken over" if renamed else ""


def former_id(settings: Mapping[str, Any], slug: str) -> str:
    """Return the id that version 0.1.0 gave to a run with these resolved settings."""
    canonical = json.dumps(settings, sort_keys=True, separators=(",", ":"))
    return f"{slug}-{hashlib.sha256(canonical.encode()).hexdigest()[:8]}"


def _take_over_run(path: Path, folder: Path) -> bool:
    """Rename the folder of one run; whether it was of an earlier version."""
    try:
        run_file = json.loads((path / "run.json").read_text(encoding="utf-8"))
        settings, former = run_file["settings"], str(run_file["run"])
        kind = KINDS[settings["kind"]]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    # Today's run files leave defaults out, which no file of before did.
    if settings == identity_of(kind.run, settings):
        return False
    if former != former_id(settings, former.rpartition("-")[0]):
        return False
    current = kind.settings_of_today(settings)
    run = run_id(current)
    target = path.with_name(run)
    if path.name not in (former, run) or (path.name == former and target.exists()):
        return False
    names = (kind.result_file, kind.former_result_file or kind.result_file)
    result = next((path / name for name in names if (path / name).exists()), None)
    if result and _version(result) != kind.measurement_version:
        return False
    if result:
        result.rename(path / kind.result_file)
    for name in (kind.result_file, "batch_size.json"):
        _rename_in(path / name, run)
    for old, new in kind.former_data(settings, current):
        if (folder / old).exists() and not (folder / new).exists():
            (folder / old).rename(folder / new)
    if path != target:
        path.rename(target)
    kind.adopt(folder, run, current)
    content = json.dumps({"run": run, "settings": current})
    _rewrite(target / "run.json", content)
    return True


def _version(path: Path) -> int | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))["measurement_version"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _rename_in(path: Path, run: str) -> None:
    """Put a run's new id into one of its files; damaged files stay for their reader to name."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        data["run"] = run
    except (OSError, ValueError, TypeError):
        return
    _rewrite(path, json.dumps(data, indent=1) + "\n")


def _rewrite(path: Path, content: str) -> None:
    """Replace the content of a file and keep its modification time."""
    state = path.stat()
    write_text(path, content)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def _forget(root: Path, results: Path) -> None:
    """Remove Snakemake's records of measured files, which name rules and parameters of before."""
    measured = [results / part for part in ("runs", "data", "servers")]
    for record, path in paths_of_records(root / ".snakemake" / "metadata"):
        if any(Path(path).is_relative_to(part) for part in measured):
            record.unlink(missing_ok=True)
