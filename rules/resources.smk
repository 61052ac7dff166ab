"""Devices, threads and places of measuring jobs; no rules."""

import math
from functools import cache

from scripts.lib.devices.slots import visible_gpus
from scripts.lib.workflow_progress import MEASURING


def runs_here():
    """Whether jobs run on this machine.

    A dry run has an executor of its own: it plans for the cluster where the profile describes one.
    """
    if workflow.dryrun and any(name.startswith("site_") for name in default_resources()):
        return False
    return workflow.local_exec


def gpu_of(wildcards):
    """GPUs that a measuring job asks for."""
    return 0 if waits_for_server(wildcards) else gpus_used_by(wildcards)


def gpus_used_by(wildcards):
    """GPUs that a run is measured on; `auto` takes them where a job finds as many."""
    device, count = device_of(settings_of(wildcards))
    if device == "auto":
        return count if gpus_of_a_job() >= count else 0
    return count if device == "cuda" else 0


def waits_for_server(wildcards):
    """Whether a job leaves it to the first point of its server to ask for the GPUs.

    One job measures all points of a server, and the others would hold GPUs that nothing uses.
    Devices are locked, too, so that a job which must measure after all takes none of another's.
    On a cluster a job has only the devices that it asks for.
    """
    run = run_of(wildcards)
    if run.kind != "inference" or not runs_here():
        return False
    return first_points().get(server_of_run(run.id), run.id) != run.id


def server_group(wildcards):
    """The group of the points of one server: a single job of a cluster, so that one holds its GPUs.

    The profile's `group-components: [server=N]` puts up to N points into it; they take turns.
    """
    run = run_of(wildcards)
    if run.kind != "inference" or runs_here():
        return None
    group = server_of_run(run.id)
    # As Snakemake itself notes of groups with wildcards; of functions it does not.
    workflow.parent_groupids[group] = "server"
    return group


@cache
def first_points():
    """The point of the lowest concurrency of each server that is started here."""
    runs = [run.id for run in SWEEPS.runs.values() if run.kind == "inference"]
    served = [run for run in runs if "launch" in settings_of_run(run)["server"]]
    served.sort(key=lambda run: settings_of_run(run)["conc"], reverse=True)
    return {server_of_run(run): run for run in served}


def priority_of(wildcards):
    """On this machine the job that holds the GPUs of a server goes before those that wait for it."""
    serves = run_of(wildcards).kind == "inference" and gpu_of(wildcards)
    return 1 if serves and runs_here() else 0


def device_of(settings):
    """The device that a run asks for, and how many of it; none for a server that runs elsewhere."""
    if settings["kind"] != "inference":
        return settings.get("device"), settings.get("ranks", 1)
    server = settings["server"]
    if "base_url" in server or "launch" not in server:
        return "cpu", 1
    count = settings["tp"]
    if runs_here() and count > 1:
        # A server that needs more than this machine has is not started, and its row says so.
        return "auto", count
    only_cuda = server["launch"]["devices"] == ["cuda"] and not runs_here()
    return "cuda" if only_cuda else server["device"], count


def has_gpu():
    """Whether a job would find a GPU."""
    return gpus_of_a_job() > 0


@cache
def gpus_of_a_job():
    """GPUs that a job finds, here or on the cluster; asked only where a run leaves it open."""
    if runs_here():
        return len(visible_gpus())
    return math.inf if site("gpu_partition") else 0


def default_resources():
    """What the profile and the command line give as default resources, by name."""
    return workflow.resource_settings.default_resources or {}


def default_resource(name):
    """One of them; None without."""
    found = default_resources().get(name)
    return found and found.raw


def site(name):
    """What the profile says of its cluster."""
    return default_resource(f"site_{name}")


def by_device(resource, of_gpus):
    """A resource of jobs with GPUs as the profile says of its cluster, its default for others."""
    return lambda wildcards: (site(of_gpus) if gpu_of(wildcards) else default_resource(resource))


# What Slurm is asked for besides `gpu`, time and memory; nothing on a workstation. Packed jobs take
# their turns at the one `gpu_slot`: side by side on a device they would disturb one another.
PLACEMENT = {
    "nodes": 1,
    "gpu_slot": 1,
    "slurm_partition": by_device("slurm_partition", "gpu_partition"),
    "gpu_model": by_device("gpu_model", "gpu_model"),
    "constraint": by_device("constraint", "gpu_constraint"),
}


def refuse_missing_gpus(workflow):
    """Raise InputError where runs insist on CUDA and this machine, which would run them, has none."""
    jobs = (job for job in workflow.dag.needrun_jobs() if job.rule.name in MEASURING)
    needed = {
        job.wildcards.run for job in jobs if settings_of(job.wildcards).get("device") == "cuda"
    }
    if needed and runs_here() and not has_gpu():
        raise InputError(
            f"device: cuda is asked for by {len(needed)} runs to be measured, but no GPU is visible "
            "here; allowed: auto, cpu"
        )


def threads_of(wildcards):
    """All cores for a measurement on the CPU, so that nothing runs beside it."""
    gpus = gpus_used_by(wildcards)
    if runs_here():
        return 1 if gpus else workflow.cores
    return gpus * int(site("cpus_per_gpu") or 1) if gpus else int(site("cpus") or 1)
