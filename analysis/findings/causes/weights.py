"""Causes that lie in the weights: changed by something else than the optimizer, decayed, zero, or large."""

from __future__ import annotations

import numpy as np

from analysis.findings.causes.weighing import AGAINST, CLEAR, WEAK, Cause, Onset, Sign

_JUMP = 3.0  # factor from one record to the next
_ALIKE = 1.5  # largest ratio of the largest to the smallest logarithm of factors that count as equal
_SHIFT = 10.0  # times the bias before, and at least 1: a bias that was set
_LARGE = 4.0  # times the median layer's spectral norm
_HELD = 2.0
_FAR_DOWN = 0.7  # of the norm at the record before
_JUMPING = {"weight_l2_norm": "norm", "spectral_norm": "spectral norm", "effective_rank": "effective rank"}


def _longest_update(onset: Onset) -> np.ndarray | None:
    """Return a bound on the change since the record before, relative to the weight, as if each step had its update.

    The bound is infinite over several steps if the update is as long as the weight.
    """
    updates, record = onset.previous("update_ratio"), onset.record
    if updates is None:
        return None
    steps = onset.run.steps[record] - onset.run.steps[record - 1]
    return updates if steps == 1 else np.where(updates < 1, (1 + updates) ** float(steps) - 1, np.inf)


def set_elsewhere(onset: Onset) -> Sign | None:
    """Report a norm, a rank or a mean bias that jumps from one record to the next by more than the update between."""
    found = [_jump(onset, column, words) for column, words in _JUMPING.items()]
    known = [sign for sign in (*found, _shifted_bias(onset)) if sign is not None]
    return max(known, key=lambda sign: sign.strength) if known else None


def _jump(onset: Onset, column: str, words: str) -> Sign | None:
    now, before, updates = onset.now(column), onset.previous(column), _longest_update(onset)
    if now is None or before is None or updates is None:
        return None
    factor = now / before
    far = np.maximum(factor, 1 / factor)
    jumps = (far > _JUMP) & (np.abs(factor - 1) > _JUMP * updates)
    if not jumps.any():
        return AGAINST
    layer = int(np.where(jumps, far, 0).argmax())
    told = f"the {words} of the weight of {onset.name(layer)} is {factor[layer]:.3g} times that of the record before, "
    return Sign(CLEAR, told + f"where the update was {onset.previous('update_ratio')[layer]:.1g} of it")  # type: ignore[index]


def _shifted_bias(onset: Onset) -> Sign | None:
    now, before, updates = onset.now("bias_mean"), onset.previous("bias_mean"), _longest_update(onset)
    if now is None or before is None or updates is None:
        return None
    shift = np.nan_to_num(np.abs(now - before))
    layer = int(shift.argmax())
    if not shift[layer] > _SHIFT * max(abs(before[layer]), 0.1) or updates[layer] > 1:
        return AGAINST
    told = f"the mean bias of {onset.name(layer)} went from {before[layer]:.2g} to {now[layer]:.2g}"
    return Sign(CLEAR, f"{told} between two records, where the update was {updates[layer]:.1g} of the weight")


def decayed(onset: Onset) -> Sign | None:
    """Report weights that shrink by the same factor: in all layers, or by far in the layers of one optimizer group."""
    now, before = onset.now("weight_l2_norm"), onset.previous("weight_l2_norm")
    if now is None or before is None:
        return None
    factors = (now / before)[(before > 0) & (now > 0)]
    far = factors[factors < _FAR_DOWN]
    if 2 <= far.size < len(factors):
        factors, words = far, f"the weights of {len(far)} layers"
    else:
        words = f"the weights of all {len(factors)} layers"
    if len(factors) < 2 or not factors.max() < 1:
        return AGAINST
    logs = -np.log(factors)
    if logs.max() > _ALIKE * logs.min():
        return AGAINST
    return Sign(CLEAR, f"from one record to the next {words} shrank to {np.median(factors):.2g} of their norms")


def zeros(onset: Onset) -> Sign | None:
    """Report weights that are exactly 0."""
    if (norms := onset.now("weight_l2_norm")) is None:
        return None
    zero = np.flatnonzero(norms == 0)
    return Sign(CLEAR, f"the weight of {onset.name(int(zero[0]))} is 0 in every entry") if zero.size else AGAINST


def large(onset: Onset) -> Sign | None:
    """Report a layer whose spectral norm stands out among layers."""
    norms = onset.now("spectral_norm")
    if norms is None or onset.layer is None or np.isnan(norms[onset.layer]):
        return None
    norm, usual = norms[onset.layer], np.nanmedian(norms)
    if norm < _LARGE * usual:
        return AGAINST
    return Sign(CLEAR, f"its spectral norm is {norm:.3g}, that of the median layer {usual:.3g}")


def growing(onset: Onset) -> Sign | None:
    """Report weights that have grown for many records."""
    norms = onset.run.whole("spectral_norm")
    if norms is None or onset.layer is None or onset.record < 1:
        return None
    of_layer = norms[: onset.record + 1, onset.layer]
    of_layer = of_layer[np.isfinite(of_layer)]
    if len(of_layer) < 3 or of_layer[-1] > _HELD * of_layer[-2]:
        return AGAINST
    return Sign(WEAK, f"the spectral norm went from {of_layer[0]:.3g} to {of_layer[-1]:.3g} in {len(of_layer)} records")


SET_ELSEWHERE = Cause(
    "a change of a parameter outside the optimizer, as by an assignment, an initialisation or a checkpoint",
    "find what writes to the parameter at this step",
    set_elsewhere,
)
DECAYED = Cause(
    "a weight decay that is too large for the learning rate",
    "lower the weight decay; leave the scales of normalisation layers and biases out of it",
    decayed,
)
ZEROS = Cause(
    "weights of 0, which pass no gradient on to the layers before them", "initialise at random (Glorot, He)", zeros
)
LARGE = Cause("a weight that is too large", "initialise smaller (Glorot), or normalise before the activation", large)
GROWING = Cause("weights that nothing holds", "add weight decay, or take spectral norm", growing)
