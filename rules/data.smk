"""Data that runs read where the user names none.

Yields: results/data/tokens-{vocab}.npy
"""


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
        "python -m scripts.prepare_tokens --vocab {wildcards.vocab:q} --output {output:q} &> {log:q}"
