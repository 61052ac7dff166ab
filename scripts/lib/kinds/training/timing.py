"""Time a step as a whole and in parts, with trials of both in a seeded random order."""

import random
from collections.abc import Callable

from scripts.lib.kinds.training.step import Step
from scripts.lib.runtime.clocks import Clock


def time_whole(step: Step, clock: Clock, num_steps: int) -> float:
    """Milliseconds per step of `num_steps` whole steps, the device idle at both ends."""
    clock.synchronize()
    start = clock.mark()
    for _ in range(num_steps):
        step.whole()
    end = clock.mark()
    clock.synchronize()
    return clock.elapsed_ms(start, end) / num_steps


def time_parts(step: Step, clock: Clock, num_steps: int) -> dict[str, float]:
    """Milliseconds per step of each part of the step, averaged over `num_steps`."""
    functions = {"forward": step.forward, "backward": step.backward, "optimizer": step.optimize}
    marks = []
    clock.synchronize()
    for _ in range(num_steps):
        row = [clock.mark()]
        for part in step.parts:
            functions[part]()
            row.append(clock.mark())
        marks.append(row)
        step.zero_grad()
    clock.synchronize()
    return {
        part: sum(clock.elapsed_ms(row[i], row[i + 1]) for row in marks) / num_steps
        for i, part in enumerate(step.parts)
    }


def time_trials(
    step: Step, clock: Clock, on_trial: Callable[[], None] = lambda: None
) -> tuple[list[float], dict[str, list[float]]]:
    """Time the trials of the step's run: whole steps, and in the same trial the parts.

    In each trial the seed decides which of the two comes first, so that neither always runs on
    the warmer device. Returns the times per step of the whole, one a trial, and of each part, in
    milliseconds. `on_trial` is called after each trial.
    """
    order = random.Random(step.run.seed)
    whole: list[float] = []
    parts: dict[str, list[float]] = {part: [] for part in step.parts}
    for _ in range(step.run.num_trials):
        for measurement in order.sample(("whole", "parts"), 2):
            if measurement == "whole":
                whole.append(time_whole(step, clock, step.run.num_steps))
            else:
                for part, milliseconds in time_parts(step, clock, step.run.num_steps).items():
                    parts[part].append(milliseconds)
        on_trial()
    return whole, parts
