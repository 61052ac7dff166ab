"""The log of a search, in the words of the batch-size guide that users know."""

import logging
from collections.abc import Callable

from scripts.lib.batch_size.search import Outcome
from scripts.lib.devices.units import MIB

log = logging.getLogger(__name__)


def narrated(probe: Callable[[int], Outcome], label: str) -> Callable[[int], Outcome]:
    """Return `probe` with a line before and after each size; `label` names the configuration."""
    last: int | None = None

    def narrated_probe(batch_size: int) -> Outcome:
        nonlocal last
        if last is None:
            log.info("Trying batch size: %d...", batch_size)
        else:
            change = "larger" if batch_size > last else "smaller"
            how = "again with" if batch_size == last else change
            log.info("  Trying %s batch size: %d...", how, batch_size)
        last = batch_size
        outcome = probe(batch_size)
        if outcome.outcome == "ok":
            peak = outcome.peak_bytes / MIB
            log.info("✓ Batch size %d works for %s (%.1f MiB)", batch_size, label, peak)
        elif outcome.outcome == "oom":
            log.info("✗ Batch size %d caused OOM for %s: %s", batch_size, label, outcome.reason)
        elif outcome.outcome == "unsupported":
            log.info("✗ Unsupported for %s: %s", label, outcome.reason)
        else:
            log.info("✗ Batch size %d failed for %s: %s", batch_size, label, outcome.reason)
        return outcome

    return narrated_probe
