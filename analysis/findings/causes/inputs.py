"""Causes in the data: inputs of another scale, and targets that do not belong to the inputs."""

from __future__ import annotations

import numpy as np

from analysis.findings.causes.weighing import AGAINST, CLEAR, LIKELY, WEAK, Cause, Onset, Sign, share

_GREW, _AS_BEFORE = 10.0, 3.0  # times the usual size
_HUGE = 100.0  # root mean square of the first outputs, if there is no earlier record
_STILL = 0.05  # update ratio up to which a weight counts as unchanged


def _first_outputs(onset: Onset) -> tuple[int, float, float] | None:
    """Return the first layer with outputs, their root mean square, and the growth over records before (else NaN)."""
    mean, variance = onset.now("activation_mean"), onset.now("activation_var")
    if mean is None or variance is None:
        return None
    layer = int((~np.isnan(variance)).argmax())
    size = float(np.sqrt(variance[layer] + mean[layer] ** 2))
    means, variances = onset.usual("activation_mean"), onset.usual("activation_var")
    if means is None or variances is None:
        return layer, size, np.nan
    return layer, size, size / float(np.sqrt(variances[layer] + means[layer] ** 2))


def _weight_growth(onset: Onset, layer: int) -> float:
    """Return the largest growth of a weight of a layer; a recurrent layer has several weights."""
    now, usual = onset.now("weight_l2_norm"), onset.usual("weight_l2_norm")
    if now is None or usual is None:
        return 1.0
    name = onset.name(layer)
    own = [one == name or one.startswith(f"{name}.") for one in onset.run.layers]
    return float(np.fmax.reduce((now / usual)[own], initial=1.0))


def large_inputs(onset: Onset) -> Sign | None:
    """Report a first layer whose outputs grew while its weight did not; None without a record of the step."""
    if not onset.recorded or (first := _first_outputs(onset)) is None:
        return None
    layer, size, growth = first
    name = onset.name(layer)
    if np.isnan(growth):
        return Sign(LIKELY, f"the first outputs, of {name}, have size {size:.3g}") if size > _HUGE else AGAINST
    if not growth > _GREW or _weight_growth(onset, layer) > _AS_BEFORE:
        return AGAINST
    told = f"the outputs of {name}, the first layer, are {growth:.3g} times as large as before"
    return Sign(CLEAR, f"{told}, its weight is as before")


def other_targets(onset: Onset) -> Sign | None:
    """Report a loss that changed although neither inputs nor weights did; None without a record of the step."""
    if not onset.recorded:
        return None
    first, updates = _first_outputs(onset), onset.previous("update_ratio")
    if first is None or updates is None or np.isnan(first[2]):
        return None
    growth, moved = first[2], float(np.nanmedian(updates))
    if not 1 / _AS_BEFORE < growth < _AS_BEFORE or moved > _STILL:
        return AGAINST
    told = "the outputs of the first layer have the size that they had before"
    return Sign(WEAK, f"{told}, and the step before changed the median weight by {share(moved)}")


def off_centre(onset: Onset) -> Sign | None:
    """Report a layer whose inputs, the outputs of the layer before, have a mean far from 0."""
    mean, variance = onset.now("activation_mean"), onset.now("activation_var")
    if mean is None or variance is None or not onset.layer:
        return None
    before = onset.layer - 1
    distance = abs(mean[before]) / np.sqrt(variance[before])
    if np.isnan(distance):
        return None
    if distance < 0.5:
        return AGAINST
    return Sign(LIKELY, f"the mean of the outputs of {onset.name(before)} is {distance:.2g} standard deviations from 0")


def moves_without_learning(onset: Onset) -> Sign | None:
    """Report weights that change as usual while the loss does not."""
    updates = onset.now("update_ratio")
    if updates is None or not np.isfinite(updates).any():
        return None
    size = float(np.median(updates[np.isfinite(updates)]))
    return Sign(LIKELY, f"a step changes the median weight by {share(size)}") if size > 1e-4 else AGAINST


WRONG_LABELS = Cause(
    "labels that do not belong to their inputs, or a task without signal",
    "check the pairs of inputs and labels; train on one batch alone, whose loss must fall to 0",
    moves_without_learning,
)
LARGE_INPUTS = Cause(
    "inputs of another scale than before, or not scaled at all",
    "look at the inputs of this step; scale them to about 1",
    large_inputs,
)
OTHER_TARGETS = Cause(
    "targets or labels that do not belong to the inputs, or a changed loss function",
    "look at the targets and the loss function at this step; clip gradients by norm",
    other_targets,
)
OFF_CENTRE = Cause(
    "inputs of the layer whose mean is far from 0, which push all weights of a row the same way",
    "centre the inputs of the layer: batch norm, mean spectral norm, or inputs of mean 0",
    off_centre,
)
