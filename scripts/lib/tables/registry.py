"""All tables by name: their titles and the functions that make them of the summary."""

from collections.abc import Callable

import pandas as pd

from scripts.lib.tables import ddp, inference, training
from scripts.lib.tables.overview import overview

TABLES: dict[str, tuple[str, Callable[[pd.DataFrame], pd.DataFrame]]] = {
    "overview": ("Overview", overview),
    **training.TABLES,
    **ddp.TABLES,
    **inference.TABLES,
}
