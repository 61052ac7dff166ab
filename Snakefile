"""sweepmake: which configuration of a model is best on this hardware.

`snakemake --cores all` measures what config/config.yaml asks for, or the file that `--configfile`
names, and ends with results/summary.csv, results/tables and results/figures.
"""

import gc
import sys

from snakemake.utils import min_version

min_version("9.20")


include: "rules/home.smk"


from scripts.lib.config import InputError, load_config, load_module_config
from scripts.lib.config import expand as expand_sweeps  # `expand` is Snakemake's own
from scripts.lib.config.loading import with_places
from scripts.lib.workflow.clock import settle_future_files
from scripts.lib.workflow.inputs import check_inputs
from scripts.lib.workflow.lock import WORKFLOW_LOCK, hold_lock
from scripts.lib.workflow.progress import start_progress
from scripts.lib.workflow.slurm_guard import guard_executor
from scripts.lib.workflow.takeover import take_over

# DAG construction allocates millions of long-lived objects; the default thresholds of the garbage
# collector cost a sixth of planning time.
gc.set_threshold(200_000, 50, 100)

# A mistake in the configuration ends here, in a line each, before any job. The files are read again
# with a stricter loader than Snakemake's; a module has the configuration that it is given. Jobs
# skip the checks: the main process has made them.
FILES = [] if IS_MODULE else workflow.config_settings.configfiles
try:
    CONFIG = (
        load_module_config(config)
        if IS_MODULE
        else load_config(FILES, workflow.config_settings.config_args)
    )
    SWEEPS = expand_sweeps(CONFIG)
    if workflow.is_main_process:
        check_inputs(SWEEPS)
        settle_future_files(RESULTS)
        for line in filter(None, [*SWEEPS.notes, take_over(RESULTS)]):
            print(line, file=sys.stderr)
except InputError as error:
    sys.exit(str(error if IS_MODULE else with_places(error, FILES)))


include: "rules/common.smk"
include: "rules/resources.smk"
include: "rules/targets.smk"


report: "report/workflow.rst"


config["overview"] = overview_of_results()


# Snakemake runs these of the main Snakefile only: a workflow with sweepmake as a module has its own.
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
