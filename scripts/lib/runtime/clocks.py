"""Clocks that time work on a device: the CPU's timer, CUDA events."""

import timeit
from typing import Any, Protocol

import torch


class Clock(Protocol):
    """Marks in time on a device."""

    def mark(self) -> Any:
        """Mark the present moment."""

    def synchronize(self) -> None:
        """Wait until the device has done all its work."""

    def elapsed_ms(self, start: Any, end: Any) -> float:
        """Milliseconds between two marks; synchronise before."""


class CpuClock:
    """`timeit.default_timer`; CPU operators end before they return."""

    mark = staticmethod(timeit.default_timer)

    def synchronize(self) -> None:
        """Do nothing: there is nothing to wait for."""

    def elapsed_ms(self, start: float, end: float) -> float:
        """Milliseconds between two marks."""
        return (end - start) * 1000


class CudaClock:
    """CUDA events on the current stream: the device's own time, no host synchronisation between."""

    def mark(self) -> torch.cuda.Event:
        """Record an event."""
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def synchronize(self) -> None:
        """Wait for the device."""
        torch.cuda.synchronize()

    def elapsed_ms(self, start: torch.cuda.Event, end: torch.cuda.Event) -> float:
        """Milliseconds between two events."""
        return start.elapsed_time(end)


def clock_of(device: torch.device) -> Clock:
    """Return the clock for a device."""
    return CudaClock() if device.type == "cuda" else CpuClock()
