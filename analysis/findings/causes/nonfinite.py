"""Causes of NaN and infinite values, by the tensor that had them first."""

from __future__ import annotations

import numpy as np

from analysis.findings.causes.learning_rate import raised
from analysis.findings.causes.weighing import AGAINST, CLEAR, DECISIVE, LIKELY, Cause, Onset, Sign

_ROSE = 10.0  # times the lower quartile of the losses before
_LAST = 5  # losses
_GUARD = "add an epsilon where the network divides or takes roots, or run this part in float32"


def _update_before(onset: Onset) -> float | None:
    """Return the update of the named layer at the record one step before; None if it was not measured."""
    updates, record = onset.previous("update_ratio"), onset.record
    if updates is None or onset.layer is None or onset.run.steps[record] - onset.run.steps[record - 1] > 1:
        return None
    return float(updates[onset.layer])


def by_update(onset: Onset) -> Sign | None:
    """Report an update that was large or not finite."""
    if (size := _update_before(onset)) is None:
        return None
    return AGAINST if size < 1 else Sign(CLEAR, f"the update before was {size:.3g} times the weight")


def not_by_update(onset: Onset) -> Sign | None:
    """Report an update that was small, so that something else made the entries not finite."""
    if (size := _update_before(onset)) is None:
        return None
    return Sign(CLEAR, f"the update before was finite, {size:.1g} of the weight") if size < 1 else AGAINST


def _outputs_before(onset: Onset) -> tuple[int, ...] | None:
    counts = onset.now("activation_nonfinite")
    return None if counts is None or onset.layer is None else tuple(np.flatnonzero(~np.isnan(counts[: onset.layer])))


def in_the_input(onset: Onset) -> Sign | None:
    """Report a first layer whose outputs are not finite although its weight is."""
    if (before := _outputs_before(onset)) is None or onset.layer is None:
        return None
    if before:
        return AGAINST
    told = f"{onset.name(onset.layer)} is the first layer"
    counts = onset.now("weight_nonfinite")
    return Sign(CLEAR, told if counts is None else f"{told}, and its weight is finite")


def in_the_layer(onset: Onset) -> Sign | None:
    """Report that the outputs of the layers before this layer are finite."""
    if (before := _outputs_before(onset)) is None:
        return None
    return Sign(LIKELY, f"the outputs of {onset.name(before[-1])} before it are finite") if before else AGAINST


def _loss_at(onset: Onset) -> float | None:
    logged = onset.run.logged("loss")
    at = np.zeros(0) if logged is None else logged[1][logged[0] == onset.step]
    return float(at[0]) if at.size else None


def of_the_loss(onset: Onset) -> Sign | None:
    """Report a loss that is not finite."""
    if (loss := _loss_at(onset)) is None:
        return None
    return AGAINST if np.isfinite(loss) else Sign(CLEAR, f"the loss of this step is {loss:g}")


def of_the_backward_pass(onset: Onset) -> Sign | None:
    """Report a finite loss."""
    if (loss := _loss_at(onset)) is None:
        return None
    return Sign(CLEAR, f"the loss of this step is finite, {loss:.3g}") if np.isfinite(loss) else AGAINST


def _layers_with_nonfinite_outputs(onset: Onset) -> tuple[int, int] | None:
    counts = onset.now("activation_nonfinite")
    if counts is None or onset.run.steps[onset.record] != onset.step:
        return None
    return int((counts > 0).sum()), int((~np.isnan(counts)).sum())


def of_the_targets(onset: Onset) -> Sign | None:
    """Report outputs that are finite in all layers."""
    if (found := _layers_with_nonfinite_outputs(onset)) is None:
        return None
    return (
        AGAINST
        if found[0]
        else Sign(CLEAR, f"the outputs of all {found[1]} layers with recorded outputs are finite at this step")
    )


def of_the_outputs(onset: Onset) -> Sign | None:
    """Report layers whose outputs are not finite."""
    if (found := _layers_with_nonfinite_outputs(onset)) is None:
        return None
    return Sign(CLEAR, f"{found[0]} of {found[1]} layers have outputs with NaN or infinities") if found[0] else AGAINST


def of_a_divergence(onset: Onset) -> Sign | None:
    """Report a training loss that rose by a multiple in the last few steps before, above all earlier losses."""
    logged = onset.run.logged("loss")
    before = np.zeros(0) if logged is None else logged[1][(logged[0] < onset.step) & np.isfinite(logged[1])]
    if len(before) < 2:
        return None
    usual, last = float(np.quantile(before, 0.25, method="lower")), float(before[-_LAST:].max())
    if not (usual > 0 and last > max(_ROSE * usual, before[:-_LAST].max(initial=0.0))):
        return AGAINST
    told = f"the loss rose from {usual:.3g} to {last:.3g} in the steps before"
    if (rate := raised(onset)) is not None and rate.strength:
        told += f"; the learning rate {rate.number.removeprefix('it ')}"
    return Sign(DECISIVE, told)


DIVERGED = Cause(
    "a training that diverged: updates that are too large",
    "lower the learning rate, warm it up, or clip gradients by norm",
    of_a_divergence,
)
OF_WEIGHTS = (
    Cause("the update before this step", "lower the learning rate, clip gradients by norm", by_update),
    Cause(
        "a change of the weight outside the optimizer, as by an assignment, an initialisation or a checkpoint",
        "find what writes to the weight at this step",
        not_by_update,
    ),
    DIVERGED,
)
OF_OUTPUTS = (
    Cause("NaN or infinities in the input data", "look at the inputs of this step", in_the_input),
    Cause(
        "the layer or an operation before it: a division by 0, the logarithm or root of a number below 0, a number "
        "beyond the range of its type",
        f"{_GUARD}; torch.autograd.detect_anomaly names the operation",
        in_the_layer,
    ),
    DIVERGED,
)
OF_GRADIENTS = (
    Cause("a loss that is NaN or infinite", "look at the inputs, the targets and the loss of this step", of_the_loss),
    Cause(
        "the backward pass: the derivative of a root or norm at 0, or an overflow in float16",
        f"{_GUARD}; torch.autograd.detect_anomaly names the operation",
        of_the_backward_pass,
    ),
    DIVERGED,
)
OF_THE_LOSS = (
    Cause(
        "the targets or the loss function", "look at the targets of this step and at the loss function", of_the_targets
    ),
    Cause("the network's output", "see the layers with NaN", of_the_outputs),
    DIVERGED,
)
