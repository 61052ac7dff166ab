"""The configuration: pydantic models, loading, expansion into runs.

Imported at parse time by every job, so it loads neither torch, transformers nor pandas.
"""

from scripts.lib.config.loading import load_config, load_module_config
from scripts.lib.config.runs import RUN_PATTERN, Expansion, Run, expand, run_id
from scripts.lib.config.workflow import WorkflowConfig
from scripts.lib.kinds.registry import load_run
from scripts.lib.schema.errors import InputError

__all__ = [
    "RUN_PATTERN",
    "Expansion",
    "InputError",
    "Run",
    "WorkflowConfig",
    "expand",
    "load_config",
    "load_module_config",
    "load_run",
    "run_id",
]
