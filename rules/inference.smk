"""Inference runs: a served model under load.

Requires: results/runs/{run}/run.json, and the embedded model where a run names it.
Yields: results/data/embedded-model, results/runs/{run}/inference.json with requests.parquet

The points of one server are jobs of their own, so that each is made and counted alone. The first
of them starts the server and measures all that this call wants of it; the others fetch theirs from
results/servers/{server}. On a cluster they are one job of it.
"""

from scripts.lib.config.runs import run_id
from scripts.lib.kinds.inference.config import WANTED, server_settings


def server_dir_of(wildcards):
    return f"results/servers/{server_of_run(wildcards.run)}"


@cache
def server_of_run(run):
    return run_id(server_settings(settings_of_run(run)))


def write_wanted(workflow):
    """Tell the servers which of their points this call measures: they start once for all."""
    wanted = {}
    for job in workflow.dag.needrun_jobs():
        if job.rule.name == "serve_benchmark":
            runs = wanted.setdefault(server_dir_of(job.wildcards), {})
            runs[job.wildcards.run] = run_json(job.wildcards)
    for folder, runs in wanted.items():
        write_text(Path(folder, WANTED), json.dumps(runs))


def server_devices(wildcards):
    """The device of a run's server and how many of it, as this machine or cluster gives them."""
    settings = settings_of(wildcards)
    device, count = kind_of(wildcards).devices(settings)
    if "launch" not in settings["server"]:
        return device, count
    if runs_here() and count > 1:
        # A server that needs more than this machine has is not started, and its row says so.
        return "auto", count
    only_cuda = settings["server"]["launch"]["devices"] == ["cuda"] and not runs_here()
    return "cuda" if only_cuda else device, count


def server_gpus(wildcards):
    """GPUs that a point asks for: those of its server, for the point that measures all.

    The others would hold GPUs that nothing uses. Devices are locked, too, so that a job which must
    measure after all takes none of another's. On a cluster a job has only the devices that it asks
    for.
    """
    if runs_here() and first_points().get(server_of_run(wildcards.run), wildcards.run) != (
        wildcards.run
    ):
        return 0
    return gpus(*server_devices(wildcards))


def server_group(wildcards):
    """The group of the points of one server: a single job of a cluster, so that one holds its GPUs.

    The profile's `group-components: [server=N]` puts up to N points into it; they take turns.
    """
    if runs_here():
        return None
    group = server_of_run(run_of(wildcards).id)
    # Snakemake records the parent group only for wildcard groups.
    workflow.parent_groupids[group] = "server"
    return group


@cache
def first_points():
    """The point of the lowest concurrency of each server that is started here."""
    runs = runs_of("inference").items()
    served = [run for run, settings in runs if "launch" in settings["server"]]
    served.sort(key=lambda run: settings_of_run(run)["conc"], reverse=True)
    return {server_of_run(run): run for run in served}


def server_priority(wildcards):
    """On this machine the job that holds the GPUs of a server goes before those that wait for it."""
    return 1 if server_gpus(wildcards) and runs_here() else 0


rule prepare_model:
    """Make the small model with random weights, for inference runs of the model `embedded`."""
    output:
        directory("results/data/embedded-model"),
    log:
        "logs/prepare_model.log",
    localrule: True
    conda:
        "../envs/sweepmake.yaml"
    shell:
        "python -m scripts.prepare_model --output {output:q} &> {log:q}"


rule serve_benchmark:
    """Measure the server of one run under its load."""
    input:
        run="results/runs/{run}/run.json",
        embedded=input_data_of,
        files=user_files_of,
    output:
        ensure("results/runs/{run}/inference.json", non_empty=True),
    log:
        "logs/serve_benchmark/{run}.log",
    priority: server_priority
    group:
        server_group
    conda:
        "../envs/sweepmake.yaml"
    threads: lambda wildcards: threads(gpus(*server_devices(wildcards)))
    resources:
        **PLACEMENT | by_gpus(server_gpus),
        gpu=server_gpus,
    params:
        settings=run_json,
        version=measurement_version,
        embedded=lambda wildcards, input: option("--embedded-model", *input.embedded),
        server=server_dir_of,
    shell:
        "python -m scripts.serve_benchmark --run {input.run:q} {params.embedded:q}"
        " --server-dir {params.server:q} --output {output:q} &> {log:q}"
