"""The largest batch that fits.

Requires: results/runs/{run}/run.json and what the run is fed with. Finished searches of the same model family
are read where they exist, as a first guess; they are no input, because they change no result.
Yields: results/runs/{run}/batch_size.json
"""


rule find_batch_size:
    """Find the largest batch of a run by probing, with the proof that one more does not fit."""
    input:
        run="results/runs/{run}/run.json",
        data=input_data_of,
        files=user_files_of,
    output:
        ensure("results/runs/{run}/batch_size.json", non_empty=True),
    log:
        "logs/find_batch_size/{run}.log",
    conda:
        "../envs/sweepmake.yaml"
    threads: threads_of
    resources:
        **PLACEMENT,
        gpu=gpu_of,
    params:
        results=results_folder,
        settings=run_json,
        version=batch_size_result.MEASUREMENT_VERSION,
        data=lambda wildcards, input: option("--data", *input.data),
    shell:
        "sweepmake_python -m scripts.find_batch_size --run {input.run:q} {params.data:q}"
        " --neighbours {params.results:q}/runs --output {output:q} &> {log:q}"
