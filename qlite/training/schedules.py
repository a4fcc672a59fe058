"""Schedules: by what the learning rate is multiplied, step by step."""

import math
from collections.abc import Callable
from typing import Any

from qlite import _check

#: Share of the steps in which a schedule with a warm-up rises from 0.
WARMUP = 0.05
#: From these shares of the steps on, "step" divides the learning rate by 10 once more (He et al. 2016).
DROPS = (0.5, 0.75)
#: So long "hold_cosine" stays at 1.
HELD = 0.5


def _cosine(done: float) -> float:
    return (1 + math.cos(math.pi * done)) / 2


def _risen(done: float) -> float:
    return min(1.0, done / WARMUP)


def _dropped(done: float) -> float:
    return 0.1 ** sum(done >= share for share in DROPS)


def _warm_cosine(done: float) -> float:
    return _risen(done) if done < WARMUP else _cosine((done - WARMUP) / (1 - WARMUP))


def _held_cosine(done: float) -> float:
    return 1.0 if done < HELD else _cosine((done - HELD) / (1 - HELD))


#: Factor by the share of all steps that are done, which is 0 before the first.
SHAPES: dict[str, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    "cosine": _cosine,
    "hold_cosine": _held_cosine,
    "step": _dropped,
    "warmup": _risen,
    "warmup_cosine": _warm_cosine,
}


def schedule_of(schedule: Any, steps: int | None) -> Callable[[int], float]:
    """The function from the number of steps that are done to the factor; `steps` in all, None: not known."""
    if callable(schedule):
        return lambda step: _factor(schedule(step))
    shape = SHAPES[_check.choice("schedule", schedule, tuple(SHAPES))]
    if schedule == "constant":
        return lambda step: 1.0
    if steps is None:
        raise ValueError(
            f"schedule: expected 'constant' or a function where the number of batches is not known (X has no length), "
            f"got {schedule!r}"
        )
    # A warm-up's first step is not lost: the share is that of the step's end.
    rises = schedule.startswith("warmup")
    return lambda step: shape((step + rises) / steps)


def _factor(value: Any) -> float:
    factor = _check.number("schedule", value)
    if not 0 <= factor < math.inf:
        raise ValueError(f"schedule: expected a function with finite values of at least 0, got {factor}")
    return factor
