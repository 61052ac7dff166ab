"""Look-up of servers and their points, for the rules of this kind; no rules."""

import re
import uuid

from scripts.lib.kinds.inference.config import MEASURED, server_id
from scripts.lib.kinds.inference.kept import missing_points


@cache
def server_of_run(run):
    return server_id(settings_of_run(run))


@cache
def points_by_server():
    """Runs that this call is for, by their server."""
    servers = {}
    wanted = {run for sweep in SWEEPS.sweeps for run in selected_runs(sweep)}
    for run in runs_of("inference"):
        if run in wanted:
            servers.setdefault(server_of_run(run), []).append(run)
    return servers


@cache
def points_to_measure():
    """Runs without a current measurement."""
    kind = KINDS["inference"]
    found = set()
    for server, runs in points_by_server().items():
        files = kind.user_files(settings_of_run(runs[0]))
        found |= missing_points(server, runs, files, kind.measurement_version, RESULTS)
    return found


def servers_to_start():
    """Pattern of the servers that have points to measure; of all in a job's own process."""
    if not workflow.is_main_process:
        return RUN_PATTERN
    return "|".join({re.escape(server_of_run(run)) for run in points_to_measure()}) or "none"


def measured_before(wildcards):
    """The folder of a server's measurements, and files of points that are to be measured again.

    What was removed or damaged since the list was written is newer than the list, and so a reason
    to run under `--rerun-triggers mtime`, too.
    """
    folder = f"servers/{wildcards.server}/{MEASURED}"
    runs = points_to_measure().intersection(points_of(wildcards))
    paths = [folder, *(f"{folder}/{run}.json" for run in sorted(runs))]
    return [f"results/{path}" for path in paths if Path(RESULTS, path).exists()]


def points_of(wildcards):
    """Runs that are points of a server; exits with a message for unknown ones."""
    if wildcards.server not in points_by_server():
        sys.exit(f"no run of this configuration has the server {wildcards.server}")
    return points_by_server()[wildcards.server]


def first_point(wildcards):
    """A run of the server, whose settings of the server are those of all."""
    return SimpleNamespace(run=points_of(wildcards)[0])


def server_gpus(wildcards):
    """GPUs of a server: as many as its tensor parallelism, where it is started here."""
    settings = settings_of(first_point(wildcards))
    device, count = KINDS["inference"].devices(settings)
    launch = settings["server"].get("launch")
    if launch and runs_here() and count > 1:
        # A server that needs more than this machine has is not started, and its row says so.
        device = "auto"
    elif launch and launch["devices"] == ["cuda"] and not runs_here():
        device = "cuda"
    return gpus(device, count)


def points_file_of(wildcards):
    """The list of points of a run's server.

    A new one leaves points alone that are measured and collected. It must not be `ancient` for
    others: where a job runs, Snakemake looks for no further reasons to run the ones that follow it.
    """
    run = run_of(wildcards).id
    path = f"results/servers/{server_of_run(run)}/points.json"
    result = KINDS["inference"].result_path(RESULTS, run)
    done = run not in points_to_measure() and Path(result).exists()
    return ancient(path) if done else path
