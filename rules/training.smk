"""Training runs: timed transformer steps.

Requires: results/runs/{run}/run.json, a token file, and batch_size.json where a run says
`batch_size: auto`.
Yields: results/data/tokens-{vocab}.npy, results/runs/{run}/benchmark.json
"""


wildcard_constraints:
    vocab=r"\d+",


rule prepare_tokens:
    """Tokenise text that every Python carries, for runs without a token file of the user's."""
    output:
        "results/data/tokens-{vocab}.npy",
    log:
        "logs/prepare_tokens/{vocab}.log",
    localrule: True
    conda:
        "../envs/sweepmake.yaml"
    shell:
        "sweepmake_python -m scripts.prepare_tokens --vocab {wildcards.vocab:q} --output {output:q} &> {log:q}"


rule benchmark:
    """Time the parts of one run's step."""
    input:
        run="results/runs/{run}/run.json",
        tokens=input_data_of,
        batch_size=batch_size_of,
        files=user_files_of,
    output:
        ensure("results/runs/{run}/benchmark.json", non_empty=True),
    log:
        "logs/benchmark/{run}.log",
    conda:
        "../envs/sweepmake.yaml"
    threads: threads_of
    resources:
        **PLACEMENT,
        gpu=gpu_of,
    params:
        settings=run_json,
        version=measurement_version,
        batch_size=batch_size_option,
    shell:
        "sweepmake_python -m scripts.benchmark --run {input.run:q} --tokens={input.tokens:q}"
        " {params.batch_size:q} --output {output:q} &> {log:q}"
