"""Finding "accumulated gradient": ``zero_grad`` is missing, so gradients of earlier steps are still in the sum."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analysis.findings.finding import GRAVE, Evidence, Finding
from analysis.findings.history import ever, lasting
from analysis.findings.run_records import RunRecords
from analysis.findings.thresholds import Thresholds
from probes.schema import LAYERS, STEPS

_KIND, _COLUMN, _LOSS = "accumulated gradient", "grad_l2_norm", "loss"
_CARRIED = "grad_carried"
_CAUSE = "gradients are not set to 0 between these steps: optimizer.zero_grad() is missing, or comes at the wrong place"
_REMEDY = "call optimizer.zero_grad() before each backward(), or once in each accumulation of micro-batches"
_RECORDS = 2  # in a row; at the first record there is no gradient of an earlier step
_SHORTEST = 8  # records of the shortest rise that counts
_DIP = 0.85  # share of the largest norm of a rise, below which the rise is over
_JUMP = 1.2  # the first gradient that is not reset makes the norm grow by sqrt(2) to 2
_BELOW, _ABOVE = 1.25, 2.0  # factors by which the growth may deviate from both laws: the norm of one gradient is noisy
_LAYERS_BELOW, _LAYERS_ABOVE, _OF_LAYERS = (
    1.6,
    2.5,
    0.8,
)  # the same factors for one layer; the share of layers that must keep to them
_ACCELERATION = 1.6  # largest ratio of the growth per step in the second half to that in the first, for a sum
_LEARNED = 0.9  # share of the loss at the beginning of the rise, below which gradients may grow because of learning


def accumulated_gradient(run: RunRecords, limits: Thresholds) -> Iterator[Evidence]:
    """Yield the records at which every layer still had a gradient before the first backward pass of the step.

    A store without column ``grad_carried`` is searched for a gradient norm that rises like a sum. The number is then
    the growth, otherwise the gradient norm. If there are several networks, one of them may keep its gradient on
    purpose, as the critic does while the generator is trained.
    """
    if run.whole(_CARRIED) is not None:
        yield from _carried_over(run)
    else:
        yield from _rises(run, limits)


def _carried_over(run: RunRecords) -> Iterator[Evidence]:
    if (records := run.take(_CARRIED, _COLUMN)) is None:
        return
    carried, norms = records[_CARRIED], records[_COLUMN]
    has_gradient = ~np.isnan(norms) & ~np.isnan(carried)
    everywhere = (has_gradient & (carried == 1)).any(axis=1) & ~(has_gradient & (carried == 0)).any(axis=1)
    yield Evidence(
        lasting(everywhere[:, None], records=_RECORDS) & has_gradient,
        records.steps,
        run.layers,
        norms,
        0.0,
        _CARRIED,
        GRAVE,
        "the gradient of the step before is still there when the first backward pass of a step adds to it",
        _CAUSE,
        _REMEDY,
    )


def _rises(run: RunRecords, limits: Thresholds) -> Iterator[Evidence]:
    """Yield the records of a rise of the gradient norm that has the shape of a sum; the number is the growth.

    Without ``zero_grad`` the gradient is the sum of the gradients of all steps so far. After n steps its norm is n
    times the norm of one gradient if all gradients agree, and sqrt(n) times if they are independent. This holds in all
    layers at once. Other rises look different: noise interrupts them, and explosions accelerate. Rises during which the
    loss falls do not count, because gradients may grow then as well.
    """
    if (records := run.take(_COLUMN)) is None:
        return
    norms, steps = records[_COLUMN], records.steps
    total, losses = np.sqrt(np.nansum(norms**2, axis=1)), run.logged_at(_LOSS, steps)
    where = np.zeros(norms.shape, dtype=bool)
    growth = np.full(norms.shape, np.nan)
    highest, first = np.inf, None  # the largest norm of the present rise; the record before its first large growth
    for record in range(len(total)):
        if not total[record] >= _DIP * highest:
            highest, first = total[record], None
            continue
        highest = max(highest, total[record])
        if first is None and 0 < _JUMP * total[record - 1] <= total[record]:
            first = record - 1
        if first is None or record - first + 1 < _SHORTEST or losses[record] < _LEARNED * losses[first]:
            continue
        if _is_a_sum(norms, total, steps, first, record, least=limits.accumulated):
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
        "the gradient norm of every layer rises as a sum of gradients does: at the first record "
        "{value:.3g} times, and on",
        _CAUSE,
        _REMEDY,
    )


def _is_a_sum(norms: np.ndarray, total: np.ndarray, steps: np.ndarray, first: int, last: int, *, least: float) -> bool:
    if total[last] < least * total[first]:
        return False
    middle = (first + last) // 2
    early = (total[middle] - total[first]) / (steps[middle] - steps[first])
    late = (total[last] - total[middle]) / (steps[last] - steps[middle])
    summands = (1 + steps[first + 1 : last + 1] - steps[first])[:, None]
    of_network = _follows((total[first + 1 : last + 1] / total[first])[:, None], summands, below=_BELOW, above=_ABOVE)
    if late > _ACCELERATION * early or not of_network.all():
        return False
    with np.errstate(divide="ignore", invalid="ignore"):
        growth = norms[first + 1 : last + 1] / norms[first]
    measured = ~ever(np.isnan(growth))
    follows = ~ever(~_follows(growth, summands, below=_LAYERS_BELOW, above=_LAYERS_ABOVE))
    return bool(measured.any() and follows[measured].mean() >= _OF_LAYERS)


def _follows(growth: np.ndarray, summands: np.ndarray, *, below: float, above: float) -> np.ndarray:
    return np.asarray((growth >= np.sqrt(summands) / below) & (growth <= summands * above))


FINDING = Finding(_KIND, {LAYERS: (_COLUMN, _CARRIED), STEPS: (_LOSS,)}, accumulated_gradient, fewest=1 + _RECORDS)
