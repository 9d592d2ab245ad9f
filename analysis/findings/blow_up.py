"""Blow-up: between a record and the next the network gets values that are not finite, or grows by a large factor."""

from __future__ import annotations

import numpy as np

from analysis.findings.run_records import RunRecords

NONFINITE = ("weight_nonfinite", "activation_nonfinite", "grad_nonfinite")
LOSS, _NORM = "loss", "weight_l2_norm"


def blows_up_after(run: RunRecords, steps: np.ndarray, *, factor: float) -> np.ndarray:
    """Return whether the network blows up after each record, up to and at the next record, ``(records, 1)``.

    A blow-up is a value of a weight, output, gradient or training loss that is not finite. A training loss or a median
    weight norm that is a multiple of its value at the record is a blow-up too. After the last record only the loss is
    known.

    Args:
        run: The records of the run.
        steps: Steps of records.
        factor: The multiple. It is not applied to losses that are not positive.
    """
    places = np.searchsorted(run.steps, steps)
    following = np.append(run.steps[1:], np.iinfo(np.int64).max)[places]
    tensors = np.append((_not_finite(run) | _grown(run, factor))[1:], False)[places]
    losses = [_loss_blows_up(run, first, last, factor) for first, last in zip(steps, following, strict=True)]
    return np.asarray(tensors | np.array(losses, dtype=bool))[:, None]


def _not_finite(run: RunRecords) -> np.ndarray:
    """Return at which records some entry of some tensor is not finite, ``(records,)``."""
    matrices = [matrix for name in NONFINITE if (matrix := run.whole(name)) is not None]
    found = [(matrix > 0).any(axis=1) for matrix in matrices]
    return np.logical_or.reduce([np.zeros(len(run.steps), dtype=bool), *found])


def _grown(run: RunRecords, factor: float) -> np.ndarray:
    """Return at which records the median weight norm is a multiple of that at the record before, ``(records,)``."""
    grown = np.zeros(len(run.steps), dtype=bool)
    if (norms := run.whole(_NORM)) is not None:
        with np.errstate(divide="ignore", invalid="ignore"):  # weights of 0 have no multiple
            ratios = np.ma.masked_invalid(norms[1:] / norms[:-1])
        grown[1:] = np.ma.filled(np.ma.median(ratios, axis=1), np.nan) > factor
    return grown


def _loss_blows_up(run: RunRecords, first: int, last: int, factor: float) -> bool:
    """Return whether a training loss logged after a step, up to another, is not finite or a multiple of that before."""
    if (logged := run.logged(LOSS)) is None:
        return False
    steps, losses = logged
    after = losses[(steps > first) & (steps <= last)]
    before = float(run.logged_at(LOSS, np.array([first]))[0])
    return bool((~np.isfinite(after)).any() or (before > 0 and (after > factor * before).any()))
