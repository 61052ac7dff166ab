"""Look-up of texts, for the rules of this kind; no rules."""

from scripts.lib.kinds.ddp.config import text_digest, text_inputs


@cache
def runs_by_text():
    """The first data-parallel run of each text."""
    return first_runs("ddp", text_digest)


def run_of_text(wildcards):
    if wildcards.text not in runs_by_text():
        sys.exit(f"no run of this configuration has the text {wildcards.text}")
    return runs_by_text()[wildcards.text]


def first_run_of_text(wildcards):
    return ancient(f"results/runs/{run_of_text(wildcards)}/run.json")


def text_files_of(wildcards):
    """The user's files of a text; one that changes is read again."""
    return in_place(text_inputs(settings_of_run(run_of_text(wildcards))))
