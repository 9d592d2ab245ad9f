"""Finding "no training": no weight of the network changes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analysis.findings.finding import GRAVE, NOTE, Evidence, Finding
from analysis.findings.history import largest_before, lasting
from analysis.findings.run_records import RunRecords
from analysis.findings.thresholds import Thresholds
from probes.schema import LAYERS, STEPS

_KIND, _RATE = "no training", "lr"
_UPDATE, _GRADIENT = "update_ratio", "grad_l2_norm"
_MEAN, _RAW_MEAN = "weight_mean", "raw_weight_mean"
_RECORDS = 3  # in a row: a warm-up may start at 0, a schedule may end at 0
_ANNEALED = 0.01  # share of the largest learning rate below which a schedule is near its end


def nothing_updated(run: RunRecords, limits: Thresholds) -> Iterator[Evidence]:  # noqa: ARG001
    """Yield the records at which no layer's weight is changed by the optimizer; the number is the learning rate.

    Either each update is exactly 0, or no layer has a gradient and every weight is the same as at the record before.
    """
    measured = run.take(_UPDATE, _GRADIENT)
    if measured is not None:
        updates = measured[_UPDATE]
        still = ((updates == 0) | np.isnan(updates)).all(axis=1) & (updates == 0).any(axis=1)
        still &= (measured[_GRADIENT] > 0).any(axis=1)
        yield from _evidence(run, measured.steps, still, measured[_GRADIENT] > 0, gradient=True)
    yield from _without_gradient(run)


def _without_gradient(run: RunRecords) -> Iterator[Evidence]:
    gradient, weights = run.whole(_GRADIENT), run.whole(_MEAN)
    if gradient is None or weights is None:
        return
    raw = run.whole(_RAW_MEAN)
    trained = weights if raw is None else np.where(np.isnan(raw), weights, raw)
    has_weight = ~np.isnan(trained)
    still = np.zeros(len(trained), dtype=bool)
    still[:-1] = ((trained[1:] == trained[:-1]) | ~(has_weight[1:] & has_weight[:-1])).all(axis=1)
    still &= has_weight.any(axis=1) & np.isnan(gradient).all(axis=1)
    yield from _evidence(run, run.steps, still, has_weight, gradient=False)


def _evidence(
    run: RunRecords, steps: np.ndarray, still: np.ndarray, layers: np.ndarray, *, gradient: bool
) -> Iterator[Evidence]:
    """Yield those records that follow a schedule which came down to 0 as a note, and the others as grave."""
    rates = run.logged_at(_RATE, steps)
    lasts = lasting(still, records=_RECORDS)
    with np.errstate(invalid="ignore"):
        before = np.concatenate([[np.nan], rates[:-1]])
        annealed = (rates == 0) & (before <= _ANNEALED * largest_before(rates))
    follows = _carried_on(annealed, lasts)
    text = "no weight of the network changes"
    if not np.isnan(rates[lasts]).any():
        text += "; the learning rate is {value:.3g}"
    cause, remedy = _explanation(rates[lasts], gradient=gradient)
    for severity, mask in ((GRAVE, lasts & ~follows), (NOTE, lasts & follows)):
        yield Evidence(
            mask[:, None] & layers,
            steps,
            run.layers,
            np.broadcast_to(rates[:, None], layers.shape),
            0.0,
            _UPDATE if gradient else _GRADIENT,
            severity,
            text,
            cause,
            remedy,
        )


def _carried_on(begins: np.ndarray, lasts: np.ndarray) -> np.ndarray:
    """Return the records of the stretches of ``lasts`` whose first record is marked in ``begins``."""
    carried = np.zeros_like(lasts)
    for record in range(len(lasts)):
        starts = lasts[record] and not (record and lasts[record - 1])
        carried[record] = lasts[record] and (begins[record] if starts else bool(carried[record - 1]))
    return carried


def _explanation(rates: np.ndarray, *, gradient: bool) -> tuple[str, str]:
    if not gradient:
        return (
            "no layer has a gradient when the optimizer steps: zero_grad() between backward() and step(), no "
            "backward() at all, or a loss that is cut off from the network",
            "call zero_grad(), backward() and step() in this order; check loss.requires_grad",
        )
    if len(rates) and (rates == 0).all():
        return "the learning rate is 0: a schedule that starts or ends there", "check the schedule and when it steps"
    return (
        "the optimizer holds other parameters than the network's (made before the network was copied or replaced), or "
        "its groups have the rate 0",
        "make the optimizer from model.parameters() after the model is final",
    )


FINDING = Finding(
    _KIND, {LAYERS: (_UPDATE, _GRADIENT, _MEAN, _RAW_MEAN), STEPS: (_RATE,)}, nothing_updated, fewest=_RECORDS
)
