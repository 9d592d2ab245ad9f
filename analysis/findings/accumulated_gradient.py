"""Finding "accumulated gradient": the gradient grows like a sum over steps, as without ``zero_grad``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analysis.findings.finding import GRAVE, Evidence, Finding
from analysis.findings.run_records import RunRecords
from analysis.findings.thresholds import Thresholds
from probes.schema import LAYERS

_KIND, _COLUMN = "accumulated gradient", "grad_l2_norm"
_SHORTEST = 6  # records of a rise
_OF_LAYERS = 0.8  # share of the layers that take part
_LEEWAY = 1.4  # factor by which the growth of a layer may miss the two laws
_ACCELERATION = 1.25  # growth per step in the second half over that in the first; a sum has at most 1, an explosion more
_JUMP = 1.2  # the first summand that is not taken away shows as a growth of sqrt(2) to 2


def accumulated_gradient(run: RunRecords, limits: Thresholds) -> Iterator[Evidence]:
    """Yield the records of a rise of the gradient norm that has the shape of a sum; the number is the growth.

    Without ``zero_grad`` the gradient at step t is the sum of all gradients so far. Its norm rises without a break in
    all layers at once: n times after n steps where all gradients agree, sqrt(n) times where they are independent.
    Noise breaks other rises, explosions accelerate, and layers of a training that learns grow unlike each other.
    """
    if (records := run.take(_COLUMN)) is None:
        return
    norms, steps = records[_COLUMN], records.steps
    total = np.sqrt(np.nansum(norms**2, axis=1))
    where = np.zeros(norms.shape, dtype=bool)
    growth = np.full(norms.shape, np.nan)
    start = 0
    for record in range(1, len(total)):
        if not total[record] > total[record - 1]:
            start = record
        elif record - start + 1 >= _SHORTEST:
            first = _first_jump(total, start, record)
            if first is not None and _is_a_sum(norms, total, steps, first, record, limits.accumulated):
                growth[first + 1 : record + 1] = norms[first + 1 : record + 1] / norms[first]
                where[first + 1 : record + 1] = ~np.isnan(norms[first + 1 : record + 1])
    yield Evidence(
        where,
        steps,
        run.layers,
        growth,
        limits.accumulated,
        _COLUMN,
        GRAVE,
        "the gradient norm of every layer rises without a break, as a sum of gradients does; here {value:.3g} times",
        "gradients are never set to 0 between steps: optimizer.zero_grad() is missing, or comes at the wrong place",
        "call optimizer.zero_grad() before each backward(), or once in each accumulation of micro-batches",
    )


def _first_jump(total: np.ndarray, start: int, record: int) -> int | None:
    """Return the record before the first large relative growth of a rise, or None if it leaves too short a rise."""
    for first in range(start, record - _SHORTEST + 2):
        if total[first] > 0 and total[first + 1] >= _JUMP * total[first]:
            return first
    return None


def _is_a_sum(norms: np.ndarray, total: np.ndarray, steps: np.ndarray, first: int, last: int, least: float) -> bool:
    if total[last] < least * total[first]:
        return False
    middle = (first + last) // 2
    early = (total[middle] - total[first]) / (steps[middle] - steps[first])
    late = (total[last] - total[middle]) / (steps[last] - steps[middle])
    if late > _ACCELERATION * early:
        return False
    with np.errstate(divide="ignore", invalid="ignore"):
        growth = norms[first + 1 : last + 1] / norms[first]
    summands = (1 + steps[first + 1 : last + 1] - steps[first])[:, None]
    follows = (growth >= np.sqrt(summands) / _LEEWAY) & (growth <= summands * _LEEWAY)
    measured = ~np.isnan(growth).any(axis=0)
    return bool(measured.any() and follows.all(axis=0)[measured].mean() >= _OF_LAYERS)


FINDING = Finding(_KIND, {LAYERS: (_COLUMN,)}, accumulated_gradient)
