"""Accuracy against efficiency knobs: the embedded model, importance of blocks, a run a point.

Requires: results/runs/{run}/run.json, and batch_size.json where a run says `batch_size: auto`.
Yields: results/data/vlm-{vlm}, results/data/importance-{importance}/importance.json,
results/runs/{run}/accuracy.json, results/accuracy/{sweep}/accuracy_results.json
"""


include: "lookup/accuracy.smk"


wildcard_constraints:
    vlm=r"[0-9a-f]{8}",
    importance=r"[0-9a-f]{8}",


rule train_embedded_vlm:
    """Train the embedded vision-language model on handwritten digits, once for all runs with it."""
    output:
        summary="results/data/vlm-{vlm}/training.json",
        curve="results/data/vlm-{vlm}/training.csv",
        weights="results/data/vlm-{vlm}/model.safetensors",
    log:
        "logs/train_embedded_vlm/{vlm}.log",
    conda:
        "../envs/sweepmake.yaml"
    params:
        settings=lambda wildcards: json.dumps(vlm_settings(settings_of_vlm(wildcards))),
    shell:
        "sweepmake_python -m scripts.train_embedded_vlm --settings {params.settings:q}"
        " --output {output.summary:q} &> {log:q}"


rule measure_importance:
    """Leave out each decoder block of a model once, for runs that choose blocks by importance."""
    input:
        checkpoint=checkpoint_of_importance,
        files=files_of_importance,
    output:
        "results/data/importance-{importance}/importance.json",
    log:
        "logs/measure_importance/{importance}.log",
    conda:
        "../envs/sweepmake.yaml"
    threads: lambda wildcards: threads(importance_gpu(wildcards))
    resources:
        **PLACEMENT | by_gpus(importance_gpu),
        gpu=importance_gpu,
    params:
        settings=lambda wildcards: json.dumps(
            importance_settings(settings_of_importance(wildcards))
        ),
        checkpoint=lambda wildcards, input: option("--checkpoint", *input.checkpoint),
    shell:
        "sweepmake_python -m scripts.measure_importance --settings {params.settings:q} {params.checkpoint:q}"
        " --output {output:q} &> {log:q}"


rule accuracy:
    """Answer all samples at one point of the knobs, on as many ranks as the run says."""
    input:
        run="results/runs/{run}/run.json",
        checkpoint=input_data_of,
        importance=importance_of,
        batch_size=batch_size_of,
        files=user_files_of,
    output:
        ensure("results/runs/{run}/accuracy.json", non_empty=True),
    log:
        "logs/accuracy/{run}.log",
    conda:
        "../envs/sweepmake.yaml"
    threads: threads_of
    resources:
        **PLACEMENT,
        gpu=gpu_of,
    params:
        settings=run_json,
        version=measurement_version,
        checkpoint=lambda wildcards, input: option("--checkpoint", *input.checkpoint),
        importance=lambda wildcards, input: option("--importance", input.importance),
        batch_size=batch_size_option,
    shell:
        "sweepmake_python -m scripts.accuracy --run {input.run:q} {params.checkpoint:q}"
        " {params.importance:q} {params.batch_size:q} --output {output:q} &> {log:q}"


rule export_accuracy:
    """Write the results of each sweep in the form of the profiling guide."""
    input:
        "results/summary.parquet",
    output:
        expand("results/accuracy/{sweep}/accuracy_results.json", sweep=accuracy_sweeps()),
    log:
        "logs/export_accuracy.log",
    localrule: True
    conda:
        "../envs/sweepmake.yaml"
    params:
        results=results_folder,
        sweeps=[f"{sweep}:{len(batches_of(sweep))}" for sweep in accuracy_sweeps()],
    shell:
        "sweepmake_python -m scripts.export_accuracy --results-dir {params.results:q} --sweeps {params.sweeps:q}"
        " --output-dir {params.results:q}/accuracy &> {log:q}"
