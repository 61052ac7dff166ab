"""Read inference results of older schemas."""

from typing import Any

from scripts.lib.results.upgrades import renamed


def upgraded_from_1(data: dict[str, Any]) -> dict[str, Any]:
    """Return a result of schema 1 with the names of schema 2."""
    if data.get("boot"):
        boot = renamed(data["boot"], {"server_start_s": "server_start_time_s"})
        data = data | {"boot": boot}
    return data
