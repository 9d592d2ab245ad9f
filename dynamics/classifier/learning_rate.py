"""Schedules of the learning rate, as functions of the step."""

from __future__ import annotations

import math
from collections.abc import Callable

from dynamics.classifier.config import SCHEDULES

Rate = Callable[[int], float]


def scheduled_rate(rate: float, *, schedule: str, steps: int) -> Rate | None:
    """Return the learning rate as a function of the step, counted from 0; None for a constant rate.

    ``cosine``: ``rate (1 + cos(pi t / T)) / 2``. ``decay``: constant for two thirds of the steps, then linear to 0.
    Both are 0 at step T, which is not taken.

    Args:
        rate: The rate at step 0.
        schedule: One of ``SCHEDULES``.
        steps: T, the optimizer steps of the whole run.

    Raises:
        ValueError: There is no such schedule.
    """
    if schedule == "constant":
        return None
    if schedule == "cosine":
        return lambda step: rate * (1 + math.cos(math.pi * step / steps)) / 2
    if schedule == "decay":
        return lambda step: rate * min(1.0, 3 * (1 - step / steps))
    raise ValueError(f"schedule {schedule!r}: expected one of {', '.join(SCHEDULES)}.")
