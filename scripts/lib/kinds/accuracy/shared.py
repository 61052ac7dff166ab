"""What accuracy runs share: an embedded model, the importance of blocks; each has a digest."""

from collections.abc import Mapping
from typing import Any

from scripts.lib.kinds.accuracy.config import AccuracyRun
from scripts.lib.sweeps.identity import digest_of, identity_of

_OF_IMPORTANCE = (
    "model", "embedded", "importance", "dataset", "metric", "seed", "max_new_tokens", "precision",
    "experts_implementation", "trust_remote_code", "device",
)  # fmt: skip


def _decisive(settings: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return identity_of(AccuracyRun, {name: settings[name] for name in names})


def vlm_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that decide a run's embedded model, as settings of a run without defaults."""
    return _decisive(settings, "embedded")


def importance_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that decide the importance of blocks, as settings of a run without defaults."""
    return _decisive(settings, *_OF_IMPORTANCE)


def vlm_digest(settings: Mapping[str, Any]) -> str:
    """8 hex digits of what decides the embedded model; runs that share it share the model."""
    return digest_of(vlm_settings(settings))


def importance_digest(settings: Mapping[str, Any]) -> str:
    """8 hex digits of what decides the importance of the blocks of a run."""
    return digest_of(importance_settings(settings))


def former_vlm_digest(settings: Mapping[str, Any]) -> str:
    """Return the digest that version 0.1.0 gave to an embedded model, defaults included."""
    return digest_of({"embedded": settings["embedded"]})


def former_importance_digest(settings: Mapping[str, Any]) -> str:
    """Return the digest that version 0.1.0 gave to an importance of blocks, defaults included."""
    return digest_of({name: settings[name] for name in _OF_IMPORTANCE})
