"""What accuracy runs share: an embedded model, the importance of blocks; each has a digest."""

import hashlib
import json
from typing import Any


def _digest(told: Any) -> str:
    canonical = json.dumps(told, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:8]


def vlm_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of a run that decide its embedded model, as settings of a run."""
    return {"embedded": settings["embedded"]}


def importance_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of a run that decide the importance of its blocks, as settings of a run."""
    names = ("model", "embedded", "importance", "dataset", "metric", "seed", "max_new_tokens",
             "precision", "experts_implementation", "trust_remote_code", "device")  # fmt: skip
    return {name: settings[name] for name in names}


def vlm_digest(settings: dict[str, Any]) -> str:
    """8 hex digits of what decides the embedded model; runs that share it share the model."""
    return _digest(vlm_settings(settings))


def importance_digest(settings: dict[str, Any]) -> str:
    """8 hex digits of what decides the importance of the blocks of a run."""
    return _digest(importance_settings(settings))
