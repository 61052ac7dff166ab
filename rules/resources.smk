"""Devices, threads and places of measuring jobs; no rules."""

import math
from functools import cache

from scripts.lib.devices.slots import visible_gpus
from scripts.lib.workflow.progress import MEASURING


def runs_here():
    """Whether jobs run on this machine.

    A dry run has an executor of its own: it plans for the cluster where the profile describes one.
    """
    if workflow.dryrun and any(name.startswith("site_") for name in default_resources()):
        return False
    return workflow.local_exec


def gpu_of(wildcards):
    """GPUs that the measurement of a run asks for."""
    return gpus(*kind_of(wildcards).devices(settings_of(wildcards)))


def gpus(device, count):
    """GPUs that a job asks for; `auto` takes them where a job finds as many."""
    if device == "auto":
        return count if gpus_of_a_job() >= count else 0
    return count if device == "cuda" else 0


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


def by_device(resource, of_gpus, gpus_of):
    """A resource of jobs with GPUs as the profile says of its cluster, its default for others."""
    return lambda wildcards: site(of_gpus) if gpus_of(wildcards) else default_resource(resource)


def by_gpus(gpus_of):
    """What Slurm is asked for by whether a job has GPUs, which `gpus_of` counts."""
    return {
        "slurm_partition": by_device("slurm_partition", "gpu_partition", gpus_of),
        "gpu_model": by_device("gpu_model", "gpu_model", gpus_of),
        "constraint": by_device("constraint", "gpu_constraint", gpus_of),
    }


# What Slurm is asked for besides `gpu`, time and memory; nothing on a workstation. Packed jobs take
# their turns at the one `gpu_slot`: side by side on a device they would disturb one another.
PLACEMENT = {"nodes": 1, "gpu_slot": 1, **by_gpus(gpu_of)}


def refuse_missing_gpus(workflow):
    """Raise InputError where runs insist on CUDA and this machine, which would run them, has none."""
    jobs = (job for job in workflow.dag.needrun_jobs() if job.rule.name in MEASURING)
    runs = {job.wildcards.run for job in jobs if "run" in job.wildcards.keys()}
    needed = [run for run in runs if settings_of_run(run).get("device") == "cuda"]
    if needed and runs_here() and not has_gpu():
        raise InputError(
            f"device: cuda is asked for by {len(needed)} runs to be measured, but no GPU is visible "
            "here; allowed: auto, cpu"
        )


def threads_of(wildcards):
    """Cores of the measurement of a run."""
    return threads(gpu_of(wildcards))


def threads(gpus):
    """All cores for a measurement on the CPU, so that nothing runs beside it."""
    if runs_here():
        return 1 if gpus else workflow.cores
    return gpus * int(site("cpus_per_gpu") or 1) if gpus else int(site("cpus") or 1)
