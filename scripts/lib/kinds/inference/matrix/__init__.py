"""The sweep matrix: master files of inference entries, expanded into points and cut into batches.

Pure: it imports neither torch, transformers nor pandas, starts no process and prints nothing.
"""

from scripts.lib.kinds.inference.matrix.filters import Filters
from scripts.lib.kinds.inference.matrix.loading import Master, load_master
from scripts.lib.kinds.inference.matrix.matrix import Matrix
from scripts.lib.kinds.inference.matrix.sweeps import full_sweep, runner_model_sweep, single_config

__all__ = [
    "Filters",
    "Master",
    "Matrix",
    "full_sweep",
    "load_master",
    "runner_model_sweep",
    "single_config",
]
