"""sweepmake: which configuration of a model is best on this hardware.

`snakemake --cores all` measures what config/config.yaml asks for, or the file that `--configfile`
names, and ends with results/summary.csv, results/tables and results/figures.
"""

import gc
import sys

from snakemake.utils import min_version

from scripts.lib.workflow.clock import settle_future_files
from scripts.lib.config import InputError, load_config
from scripts.lib.config import expand as expand_sweeps  # `expand` is Snakemake's own
from scripts.lib.config.loading import with_places
from scripts.lib.workflow.inputs import check_inputs
from scripts.lib.workflow.takeover import take_over
from scripts.lib.workflow.slurm_guard import guard_executor
from scripts.lib.workflow.lock import WORKFLOW_LOCK, hold_lock
from scripts.lib.workflow.progress import start_progress

min_version("9.20")

# Planning makes millions of objects that all live; looking through them again and again for
# garbage takes a sixth of its time.
gc.set_threshold(200_000, 50, 100)

# The files are read again with a stricter loader than Snakemake's; a mistake ends here, in a line
# each, before any job. Jobs trust the check of the main process.
try:
    CONFIG = load_config(workflow.config_settings.configfiles, workflow.config_settings.config)
    SWEEPS = expand_sweeps(CONFIG)
    if workflow.is_main_process:
        check_inputs(SWEEPS)
        settle_future_files("results")
        taken_over = [line for line in [take_over("results")] if line]
        print(
            *SWEEPS.notes,
            *taken_over,
            sep="\n",
            end="\n" * bool(SWEEPS.notes or taken_over),
            file=sys.stderr,
        )
except InputError as error:
    sys.exit(str(with_places(error, workflow.config_settings.configfiles)))


include: "rules/common.smk"
include: "rules/resources.smk"
include: "rules/targets.smk"


report: "report/workflow.rst"


config["overview"] = overview_of_results()

# Programs are `python -m scripts.NAME` from any working directory, by the Python that runs
# Snakemake, or by the environment's with `--sdm conda`.
shell.prefix(program_environment())


onstart:
    if workflow.is_main_process:
        try:
            hold_lock(WORKFLOW_LOCK)
            refuse_missing_gpus(workflow)
            guard_executor(workflow.executor_plugin.name)
        except InputError as error:
            sys.exit(str(error))
        start_progress(workflow.dag)


rule all:
    """Everything: the result of every run, the summary, the tables, the figures."""
    input:
        targets,


include: "rules/expand.smk"
include: "rules/batch_size.smk"
include: "rules/training.smk"
include: "rules/inference.smk"
include: "rules/ddp.smk"
include: "rules/accuracy.smk"
include: "rules/aggregate.smk"
