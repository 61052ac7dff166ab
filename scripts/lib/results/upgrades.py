"""Helpers for the steps that read result files of an older schema."""

from collections.abc import Mapping
from typing import Any


def renamed(values: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return a mapping with some keys renamed, in the same order."""
    return {names.get(name, name): value for name, value in values.items()}


def without(values: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return a mapping without some of its keys."""
    return {name: value for name, value in values.items() if name not in names}


def resolved(requested: str | None) -> str | None:
    """Return a requested value where it is a value and not `auto`."""
    return None if requested == "auto" else requested


def device_index(device: str | None) -> int | None:
    """Return the index in a device's name as torch writes it; None for a CPU."""
    _, colon, index = (device or "").partition(":")
    return int(index) if colon else None
