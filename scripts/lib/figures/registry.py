"""All figures by name, and the functions that draw them from the summary."""

from collections.abc import Callable

import pandas as pd
from matplotlib.figure import Figure

from scripts.lib.figures import inference, training

FIGURES: dict[str, Callable[[pd.DataFrame], Figure]] = {**training.FIGURES, **inference.FIGURES}
