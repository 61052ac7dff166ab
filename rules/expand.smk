"""From the sweeps to files: what each run is, and which runs each batch has.

Requires: the configuration.
Yields: results/runs/{run}/run.json, results/batches/{sweep}/{batch}.json
"""


rule write_run:
    """Write the resolved settings of a run, the only thing that programs read of the config."""
    output:
        ensure("results/runs/{run}/run.json", non_empty=True),
    log:
        "logs/write_run/{run}.log",
    localrule: True
    conda:
        "../envs/sweepmake.yaml"
    params:
        content=run_json,
    shell:
        "printf '%s\\n' {params.content:q} > {output:q}.part 2> {log:q}"
        " && mv {output:q}.part {output:q} 2>> {log:q}"


rule write_batch:
    """Write the list of runs whose results make one batch."""
    output:
        ensure("results/batches/{sweep}/{batch}.json", non_empty=True),
    log:
        "logs/write_batch/{sweep}/{batch}.log",
    localrule: True
    conda:
        "../envs/sweepmake.yaml"
    params:
        content=batch_json,
    shell:
        "printf '%s\\n' {params.content:q} > {output:q}.part 2> {log:q}"
        " && mv {output:q}.part {output:q} 2>> {log:q}"
