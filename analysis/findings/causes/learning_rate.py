"""Causes that lie in the size of a step: a learning rate that is too large, was raised, or is too small."""

from __future__ import annotations

import numpy as np

from analysis.findings.causes.weighing import AGAINST, CLEAR, LIKELY, WEAK, Cause, Onset, Sign, share

_RAISED = 3.0  # times the rate before: a warm-up grows by less from one record to the next
_RECENT = 5  # records
_LARGE, _MODEST = 0.05, 0.01  # update ratios: about 0.001 is usual
_SMALL, _USUAL = 1e-5, 1e-4
_GREW = 10.0  # times the usual gradient norm: the step is large because of the gradient


def rate_at(onset: Onset) -> float:
    """Return the learning rate logged last at or before the step; NaN if there is none."""
    return float(onset.run.logged_at("lr", np.array([onset.step]))[0])


def raised(onset: Onset) -> Sign | None:
    """Report a learning rate that was raised within a few records before."""
    if (logged := onset.run.logged("lr")) is None or np.isnan(logged[1]).all():
        return None
    begins = onset.run.steps[max(onset.record - _RECENT, 0)] if len(onset.run.steps) else 0
    here = (logged[0] >= begins) & (logged[0] <= onset.step)
    steps, rates = logged[0][here], logged[1][here]
    with np.errstate(divide="ignore", invalid="ignore"):
        jumps = np.flatnonzero((rates[1:] / rates[:-1] >= _RAISED) & (rates[:-1] > 0)) + 1
    if not jumps.size:
        return AGAINST
    at = jumps[-1]
    return Sign(CLEAR, f"it rose from {rates[at - 1]:.3g} to {rates[at]:.3g} at step {steps[at]:,}")


def too_large(onset: Onset) -> Sign | None:
    """Report a learning rate that was raised, or earlier updates that are a large part of the weights."""
    rose = raised(onset)
    if rose is not None and rose.strength:
        return rose
    sizes = [(np.nanmedian(size), size_of) for size, size_of in _sizes_before(onset)]
    if not sizes:
        return None
    size, words = max(sizes, key=lambda one: one[0])
    if size < _MODEST:
        return AGAINST
    rate = rate_at(onset)
    told = f"{words} changed the median weight by {share(size)}"
    told += "" if np.isnan(rate) else f", learning rate {rate:.3g}"
    return Sign(LIKELY if size >= _LARGE else WEAK, told)


def _sizes_before(onset: Onset) -> list[tuple[np.ndarray, str]]:
    """Return the finite update sizes of the records before, each with its step in words."""
    matrix = onset.run.whole("update_ratio")
    if matrix is None:
        return []
    records = range(max(onset.record - _RECENT, 0), onset.record)
    found = [(matrix[r][np.isfinite(matrix[r])], f"step {onset.run.steps[r]:,}") for r in records]
    return [(sizes, words) for sizes, words in found if sizes.size]


def large_at_once(onset: Onset) -> Sign | None:
    """Report the learning rate of an update that is too large, unless the gradient has grown."""
    rose = raised(onset)
    if rose is not None and rose.strength:
        return rose
    rate = rate_at(onset)
    if np.isnan(rate):
        return None
    grew = gradients_grew(onset)
    return AGAINST if grew is not None and grew.strength else Sign(LIKELY, f"it is {rate:.3g}")


def gradients_grew(onset: Onset) -> Sign | None:
    """Report gradients that are a multiple of those before."""
    now, usual = onset.now("grad_l2_norm"), onset.usual("grad_l2_norm")
    if now is None or usual is None:
        return None
    growth = np.nanmedian(now / usual)
    return Sign(CLEAR, f"the median gradient norm is {growth:.3g} times that before") if growth > _GREW else AGAINST


def too_small(onset: Onset) -> Sign | None:
    """Report a learning rate with which weights hardly move."""
    sizes = onset.now("update_ratio")
    if sizes is None or not np.isfinite(sizes).any():
        return None
    size, rate = np.median(sizes[np.isfinite(sizes)]), rate_at(onset)
    if size > _USUAL:
        return AGAINST
    told = f"a step changes the median weight by {share(size)}"
    told += "" if np.isnan(rate) else f", learning rate {rate:.3g}"
    return Sign(CLEAR if size < _SMALL else WEAK, told)


TOO_LARGE = Cause(
    "a learning rate that is too large", "lower the learning rate, warm it up, or clip gradients by norm", too_large
)
LARGE_AT_ONCE = Cause(
    "a learning rate that is too large", "lower the learning rate by a factor of 10 to 100", large_at_once
)
JUMPED = Cause(
    "a schedule that multiplies the rate where it should divide it, or a rate that was set by hand",
    "look at the schedule (gamma, milestones), and go back to the checkpoint before the jump",
    raised,
)
GRADIENTS_GREW = Cause(
    "gradients that grew before the learning rate did", "find why the gradients grew; clip them by norm", gradients_grew
)
TOO_SMALL = Cause(
    "a learning rate that is too small", "raise the learning rate by factors of 10 until the loss falls", too_small
)
