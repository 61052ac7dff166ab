"""Result files in the flat JSON form of the benchmarking guide that preceded sweepmake.

Such a file holds one run with `model_size`, `context_length`, `trial_times_ms`, `forward_only`
and so on at the top level; people wrote them by hand or with scripts of their own.
"""

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scripts.lib.runtime.statistics import summarize
from scripts.lib.schema.errors import InputError

# Names of the form, with the columns that hold their values; its readers find both.
ALIASES = {"mean_time_ms": "mean_step_time_ms", "std_time_ms": "std_step_time_ms"}


class DocumentResult(BaseModel):
    """The keys that are read; others are let pass."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=(), allow_inf_nan=False)

    model_size: str
    vocab: int | None = None
    context_length: int = Field(gt=0)
    d_model: int | None = None
    d_ff: int | None = None
    num_layers: int | None = None
    num_heads: int | None = None
    batch_size: int = Field(gt=0)
    num_steps: int | None = None
    num_warmups: int | None = None
    num_trials: int | None = None
    forward_only: bool = False
    trial_times_ms: list[Annotated[float, Field(gt=0)]] = Field(default_factory=list)
    mean_time_ms: float = Field(gt=0)
    std_time_ms: float = Field(ge=0)
    device: str | None = None


def read_document_rows(folder: str | Path) -> list[dict[str, Any]]:
    """Rows of all `*.json` files directly in `folder`, by name.

    The figures that the form lacks follow from its trial times. Raises InputError with a line for
    each file that is not of this form.
    """
    rows, problems = [], []
    for path in sorted(Path(folder).glob("*.json")):
        try:
            rows.append(_row(path, DocumentResult.model_validate(json.loads(path.read_text()))))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"])) or "the whole file"
            problems.append(f"{path}: {place}: {first['msg']}")
        except ValueError:
            problems.append(f"{path}: is no JSON")
    if problems:
        raise InputError(*problems)
    return rows


def _row(path: Path, result: DocumentResult) -> dict[str, Any]:
    timing = summarize(result.trial_times_ms) if result.trial_times_ms else {}
    timing |= {"mean_step_time_ms": result.mean_time_ms, "std_step_time_ms": result.std_time_ms}
    seconds = timing.get("median_step_time_ms", result.mean_time_ms) / 1000
    return {
        "run": path.stem,
        "sweeps": "",
        "kind": "training",
        "status": "ok",
        "reason": "",
        **result.model_dump(exclude={"trial_times_ms", "mean_time_ms", "std_time_ms"}),
        "mode": "forward" if result.forward_only else "forward_backward",
        "requested_batch_size": str(result.batch_size),
        # The form does not tell; a blank keeps such rows together in tables.
        "requested_precision": "",
        "requested_attn_implementation": "",
        "requested_compile": "",
        "requested_num_threads": "",
        **timing,
        "samples_per_s": result.batch_size / seconds,
        "tokens_per_s": result.batch_size * result.context_length / seconds,
    }
