"""How the largest usable batch of a run is searched for."""

from typing import Literal

from pydantic import Field

from scripts.lib.schema.base import StrictModel


class BatchSizeSearch(StrictModel):
    """Search for the largest batch size; it takes place where `batch_size: auto` is asked for."""

    strategy: Literal["gallop"] = Field(
        "gallop", description="`gallop`: double until a batch fails, then bisect."
    )
    upper_limit: int = Field(
        64, ge=1, le=1 << 20, description="Largest batch size that is of interest."
    )
    margin: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="Part of the memory budget that `recommended_batch_size` leaves free.",
    )
    use: Literal["largest", "recommended"] = Field(
        "largest",
        description="Which size is measured: the largest that fits, or the one with the margin.",
    )
    probe_timeout_s: float = Field(
        600, gt=0, description="A probe that takes longer than this many seconds has failed."
    )
