"""Inference runs: a served model under load.

Requires: results/runs/{run}/run.json, and the embedded model where a run names it.
Yields: results/data/embedded-model, results/servers/{server}/points.json, and from there
results/runs/{run}/inference.json with requests.parquet

One job starts a server and measures those of its points that are not measured yet; it keeps each in
results/servers/{server}/measured as soon as it is done. Cheap jobs copy them to their runs.

The list of points of a server that has nothing to measure is an ordinary file that no rule makes.
So a point that is removed, or a call for some batches only, starts no server.
"""


include: "lookup/inference.smk"


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
        "sweepmake_python -m scripts.prepare_model --output {output:q} &> {log:q}"


rule serve_benchmark:
    """Start a server and measure its points under their loads."""
    input:
        runs=lambda wildcards: expand("results/runs/{run}/run.json", run=points_of(wildcards)),
        embedded=lambda wildcards: input_data_of(first_point(wildcards)),
        files=lambda wildcards: user_files_of(first_point(wildcards)),
        measured=measured_before,
    output:
        ensure("results/servers/{server}/points.json", non_empty=True),
    log:
        "logs/serve_benchmark/{server}.log",
    wildcard_constraints:
        server=servers_to_start(),
    conda:
        "../envs/sweepmake.yaml"
    threads: lambda wildcards: threads(server_gpus(wildcards))
    resources:
        **PLACEMENT | by_gpus(server_gpus),
        gpu=server_gpus,
    params:
        # Never the same: the rule is only for servers with something to measure, whose list of what
        # was measured before is left in place so that no other point is collected again.
        call=uuid.uuid4().hex,
        embedded=lambda wildcards, input: option("--embedded-model", *input.embedded),
        files=lambda wildcards, input: option("--model-files", *input.files),
        folder=lambda wildcards, output: str(Path(output[0]).parent),
    shell:
        "sweepmake_python -m scripts.serve_benchmark --run {input.runs:q} {params.embedded:q}"
        " {params.files:q} --server-dir {params.folder:q} --output {output:q} &> {log:q}"


rule collect_point:
    """Copy the measured point of a server to the result of its run."""
    input:
        run="results/runs/{run}/run.json",
        points=points_file_of,
        files=user_files_of,
    output:
        ensure("results/runs/{run}/inference.json", non_empty=True),
    log:
        "logs/collect_point/{run}.log",
    localrule: True
    conda:
        "../envs/sweepmake.yaml"
    params:
        settings=run_json,
        version=measurement_version,
        folder=lambda wildcards, input: str(Path(input.points).parent),
    shell:
        "sweepmake_python -m scripts.collect_point --run {input.run:q} --server-dir {params.folder:q}"
        " --output {output:q} &> {log:q}"
