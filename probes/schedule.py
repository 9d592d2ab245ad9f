"""Schedules: plain functions that say at which optimizer steps to record.

A schedule is any callable ``step -> bool``. It must give the same answer on every rank of a distributed run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

Schedule = Callable[[int], bool]


def every(n: int, *, start: int = 0) -> Schedule:
    """Record at steps ``start``, ``start + n``, ``start + 2n``, ...

    Raises:
        ValueError: ``n`` is not a positive whole number.
    """
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ValueError(f"every={n!r}: expected a whole number of steps, 1 or more; every=1 records each step.")

    def due(step: int) -> bool:
        return step >= start and (step - start) % n == 0

    return due


def at(steps: Iterable[int]) -> Schedule:
    """Record at exactly the given steps."""
    chosen = frozenset(steps)
    return chosen.__contains__


def log_spaced(*, per_decade: int = 10) -> Schedule:
    """Record at step 0 and then at about ``per_decade`` steps a decade: dense early, sparse late.

    Step ``s >= 1`` is due when ``floor(per_decade * log10(s))`` differs from that of ``s - 1``; computed in whole
    numbers (``s**per_decade`` counted in digits), so no rounding moves a step.

    Raises:
        ValueError: ``per_decade`` is not a whole number from 1 to 100.
    """
    if isinstance(per_decade, bool) or not isinstance(per_decade, int) or not 1 <= per_decade <= 100:
        raise ValueError(f"per_decade={per_decade!r}: expected a whole number of records a decade, 1 to 100.")

    def mark(step: int) -> int:
        return len(str(step**per_decade))

    def due(step: int) -> bool:
        return step in (0, 1) or (step > 1 and mark(step) != mark(step - 1))

    return due


def never(step: int) -> bool:  # noqa: ARG001 - a schedule takes the step
    """Record at no step."""
    return False


def times_due(schedule: Schedule, steps: range) -> int | None:
    """Return at how many of some steps a schedule of this module records.

    None for a function of the user's own: it may count its calls, or draw random numbers that training would miss.

    >>> times_due(every(10), range(1000)), times_due(lambda step: step < 5, range(1000))
    (100, None)
    """
    ours = getattr(schedule, "__module__", None) == __name__ or isinstance(
        getattr(schedule, "__self__", None), frozenset
    )
    return sum(map(schedule, steps)) if ours else None


def as_schedule(value: int | Schedule) -> Schedule:
    """Return a schedule: a whole number ``n`` means :func:`every` ``n``; a callable is taken as it is."""
    return value if callable(value) else every(value)
