"""Accuracy against efficiency knobs: the embedded model, importance of blocks, a run a point.

Requires: results/runs/{run}/run.json, and batch_size.json where a run says `batch_size: auto`.
Yields: results/data/vlm-{vlm}, results/data/importance-{importance}/importance.json,
results/runs/{run}/accuracy.json, results/accuracy/{sweep}/accuracy_results.json,
results/tables/accuracy, results/figures/accuracy_*
"""


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
        settings=shared_settings,
    shell:
        "python -m scripts.train_embedded_vlm --settings {params.settings:q}"
        " --output {output.summary:q} &> {log:q}"


rule measure_importance:
    """Leave out each decoder block of a model once, for runs that choose blocks by importance."""
    input:
        checkpoint=embedded_vlm_of,
        model=model_files_of,
        data=data_files_of,
    output:
        "results/data/importance-{importance}/importance.json",
    log:
        "logs/measure_importance/{importance}.log",
    conda:
        "../envs/sweepmake.yaml"
    threads: threads_of
    resources:
        **PLACEMENT,
        gpu=lambda wildcards: min(1, gpu_of(wildcards)),
    params:
        settings=shared_settings,
        checkpoint=lambda wildcards, input: option("--checkpoint", input.checkpoint),
    shell:
        "python -m scripts.measure_importance --settings {params.settings:q} {params.checkpoint:q}"
        " --output {output:q} &> {log:q}"


rule measure_accuracy:
    """Answer all samples at one point of the knobs, on as many ranks as the run says."""
    input:
        run="results/runs/{run}/run.json",
        checkpoint=embedded_vlm_of,
        model=model_files_of,
        importance=importance_of,
        batch_size=batch_size_of,
        data=data_files_of,
    output:
        ensure("results/runs/{run}/accuracy.json", non_empty=True),
    log:
        "logs/measure_accuracy/{run}.log",
    conda:
        "../envs/sweepmake.yaml"
    threads: threads_of
    resources:
        **PLACEMENT,
        gpu=gpu_of,
    params:
        settings=run_json,
        version=measurement_version,
        checkpoint=lambda wildcards, input: option("--checkpoint", input.checkpoint),
        importance=lambda wildcards, input: option("--importance", input.importance),
        batch_size=lambda wildcards, input: option("--batch-size", input.batch_size),
    shell:
        "python -m scripts.accuracy --run {input.run:q} {params.checkpoint:q}"
        " {params.importance:q} {params.batch_size:q} --output {output:q} &> {log:q}"


rule present_accuracy:
    """Compare the points of each sweep with its reference: table, figures, a file a sweep."""
    input:
        results=accuracy_results,
        batches=accuracy_batch_files,
        training=embedded_vlm_curves,
        importance=importances,
    output:
        report(
            "results/tables/accuracy.html",
            caption="../report/accuracy.rst",
            category="Accuracy",
            labels={"result": "Table: points compared"},
        ),
        [
            report(
                f"results/figures/{name}.svg",
                caption=f"../report/{name}.rst",
                category="Accuracy",
                labels={"result": label},
            )
            for name, label in accuracy_figures().items()
        ],
        "results/tables/accuracy.md",
        expand("results/figures/{name}.png", name=accuracy_figures()),
        expand("results/accuracy/{sweep}/accuracy_results.json", sweep=sweeps_of("accuracy")),
    log:
        "logs/present_accuracy.log",
    localrule: True
    conda:
        "../envs/sweepmake.yaml"
    params:
        version=PRESENTATION_VERSION,
        sweeps=accuracy_batch_counts,
        training=lambda wildcards, input: option("--training", *input.training),
        importance=lambda wildcards, input: option("--importance", *input.importance),
    shell:
        "python -m scripts.present_accuracy --results-dir results --sweeps {params.sweeps:q}"
        " {params.training:q} {params.importance:q} --output-dir results &> {log:q}"
