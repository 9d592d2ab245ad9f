"""Causes that lie between input and loss: dead and saturated units, depth, recurrence, a scaled loss."""

from __future__ import annotations

import re

import numpy as np

from analysis.findings.causes.weighing import AGAINST, CLEAR, DECISIVE, LIKELY, Cause, Onset, Sign

_RECURRENT = re.compile(r"RNN|LSTM|GRU")
_ALIKE = 3.0  # largest ratio of growth factors that count as equal
_SCALED = 10.0
_DEEP = 8
_SHRINKS = 0.7  # ratio of the gradient norm of a layer to that of the layer after it
_FLAT, _NOT_FLAT = 0.3, 0.05
_FAR = 10.0
_TINY = 1e-4
_SHUT = 0.01  # root mean square of the outputs of a recurrent layer; open gates give about 0.1 and more


def scaled_loss(onset: Onset) -> Sign | None:
    """Report a loss and gradients of all layers that grew by about the same factor."""
    logged = onset.run.logged("loss")
    now, usual = onset.now("grad_l2_norm"), onset.usual("grad_l2_norm")
    if logged is None or now is None or usual is None:
        return None
    steps, losses = logged
    before = losses[(steps < onset.step) & np.isfinite(losses)]
    at = losses[steps == onset.step]
    if not before.size or not at.size:
        return None
    of_loss, of_layers = at[0] / np.median(before), (now / usual)[np.isfinite(now / usual)]
    if not of_layers.size or not of_loss > _SCALED:
        return AGAINST
    middle = float(np.median(of_layers))
    if _outputs_grew(onset):
        return AGAINST
    alike = 1 / _ALIKE < middle / of_loss < _ALIKE and of_layers.max() < _ALIKE**2 * of_layers.min()
    return (
        Sign(CLEAR, f"the loss grew {of_loss:.2g} times, the gradients of all layers {middle:.2g} times")
        if alike
        else AGAINST
    )


def _outputs_grew(onset: Onset) -> bool:
    """Return whether the network's outputs grew too, which explains a larger loss of the same loss function."""
    now, usual = onset.now("activation_var"), onset.usual("activation_var")
    if now is None or usual is None:
        return False
    last = int(np.flatnonzero(~np.isnan(now))[-1])
    return bool(now[last] > _ALIKE**2 * usual[last])


def tiny_gradients(onset: Onset) -> Sign | None:
    """Report gradients that are small in all layers, as under a loss that is scaled down."""
    if (norms := onset.now("grad_l2_norm")) is None:
        return None
    largest = float(np.nanmax(norms))
    return Sign(LIKELY, f"the largest gradient norm is {largest:.1g}") if largest < _TINY else AGAINST


def recurrence(onset: Onset) -> Sign | None:
    """Report recurrent weights that amplify; a network without recurrent weights is evidence against this cause."""
    recurrent = np.array(
        [
            bool(_RECURRENT.search(kind)) or "weight_hh" in name
            for kind, name in zip(onset.run.types, onset.run.layers, strict=True)
        ]
    )
    if not recurrent.any():
        return AGAINST
    if (norms := onset.now("spectral_norm")) is None:
        return None
    among = np.where(recurrent & ~np.isnan(norms), norms, -np.inf)
    layer = int(among.argmax())
    return (
        Sign(LIKELY, f"the spectral norm of {onset.name(layer)} is {among[layer]:.3g}") if among[layer] > 2 else AGAINST
    )


def dead(onset: Onset) -> Sign | None:
    """Report a layer whose channels are all dead."""
    if (share := onset.now("dead_fraction")) is None:
        return None
    norms = onset.now("weight_l2_norm")
    alive = onset.run.before_no_nonlinearity() | (False if norms is None else norms == 0)
    whole = np.flatnonzero((share == 1) & ~alive)
    return Sign(CLEAR, f"all channels of {onset.name(int(whole[0]))} are dead") if whole.size else AGAINST


def one_index(onset: Onset) -> Sign | None:
    """Report an embedding whose outputs are all alike, as for a batch of one index."""
    if onset.layer is None:
        return None
    if "Embedding" not in onset.run.types[onset.layer]:
        return AGAINST
    if (variance := onset.now("activation_var")) is None or np.isnan(variance[onset.layer]):
        return None
    if variance[onset.layer] > 0:
        return AGAINST
    return Sign(DECISIVE, f"all outputs of {onset.name(onset.layer)} are alike")


def constant_outputs(onset: Onset) -> Sign | None:
    """Report a layer, not the first, whose outputs do not depend on the input though its weight is not 0."""
    variance, norms = onset.now("activation_var"), onset.now("weight_l2_norm")
    if variance is None or norms is None:
        return None
    if (of_dead := dead(onset)) is not None and of_dead.strength:
        return AGAINST
    weight = ~np.isnan(norms) & (norms > 0)
    constant = np.flatnonzero(weight & _same_for_all_inputs(onset, variance))
    return (
        Sign(CLEAR, f"the inputs of {onset.name(int(constant[0]))} are all 0: its outputs are its bias")
        if constant.size
        else AGAINST
    )


def _same_for_all_inputs(onset: Onset, variance: np.ndarray) -> np.ndarray:
    """Return at which layers the outputs vary no more than the bias, or not at all where no bias is recorded."""
    spread = onset.now("bias_var")
    if spread is None:
        return variance == 0
    return (variance == 0) | (np.abs(variance - spread) < 1e-3 * spread)


def saturated(onset: Onset) -> Sign | None:
    """Report outputs that lie where sigmoid and tanh are flat."""
    if (share := onset.now("saturated_fraction")) is None:
        return None
    layer = int(np.nan_to_num(share).argmax())
    if share[layer] < _NOT_FLAT:
        return AGAINST
    return (
        Sign(CLEAR, f"{share[layer]:.0%} of the outputs of {onset.name(layer)} are beyond 3")
        if share[layer] > _FLAT
        else None
    )


def shut_gates(onset: Onset) -> Sign | None:
    """Report a recurrent layer whose outputs stay near 0: its gates let hardly anything into its state."""
    mean, variance = onset.now("activation_mean"), onset.now("activation_var")
    if mean is None or variance is None:
        return None
    sizes = np.sqrt(variance + mean**2)
    recurrent = np.array([bool(_RECURRENT.search(kind)) for kind in onset.run.types])
    shut = np.flatnonzero(recurrent & (sizes < _SHUT))
    if not shut.size:
        return AGAINST
    return Sign(CLEAR, f"the outputs of {onset.name(int(shut[0]))} have size {sizes[shut[0]]:.1g}")


def depth(onset: Onset) -> Sign | None:
    """Report a gradient that shrinks from layer to layer on its way back."""
    if (norms := onset.now("grad_l2_norm")) is None:
        return None
    found = norms[norms > 0]
    if len(found) < _DEEP:
        return AGAINST
    shrinks = float(np.median(found[:-1] / found[1:]))
    if shrinks > _SHRINKS:
        return AGAINST
    return Sign(LIKELY, f"each of {len(found)} layers passes {shrinks:.0%} of the gradient norm on, in the median")


def far_outputs(onset: Onset) -> Sign | None:
    """Report outputs of the network that are far from 0, where sigmoid and softmax are flat."""
    mean, variance = onset.now("activation_mean"), onset.now("activation_var")
    if mean is None or variance is None:
        return None
    last = int(np.flatnonzero(~np.isnan(mean))[-1])
    size = float(np.sqrt(variance[last] + mean[last] ** 2))
    return Sign(CLEAR, f"the outputs of {onset.name(last)} have size {size:.3g}") if size > _FAR else AGAINST


def negative_bias(onset: Onset) -> Sign | None:
    """Report a bias that holds the outputs of the layer below 0."""
    bias, mean = onset.now("bias_mean"), onset.now("activation_mean")
    if bias is None or mean is None or onset.layer is None or np.isnan(bias[onset.layer]):
        return None
    level, output = bias[onset.layer], mean[onset.layer]
    if not level < 0.5 * output < 0:
        return AGAINST
    return Sign(LIKELY, f"its mean bias is {level:.3g}, the mean of its outputs {output:.3g}")


SCALED_LOSS = Cause(
    "a loss that is scaled by a factor, or summed and not averaged",
    "look at the factor and the reduction of the loss at this step",
    scaled_loss,
)
SCALED_DOWN = Cause("a loss that is scaled far down", "take the factor out of the loss", tiny_gradients)
RECURRENCE = Cause(
    "a recurrence that amplifies", "initialise recurrent weights orthogonally, or clip gradients by norm", recurrence
)
DEAD = Cause("dead ReLU units", "see dead units: lower the learning rate, or normalise before the ReLU", dead)
PADDING = Cause(
    "a batch in which every index is the padding index, whose row is 0 and gets no gradient",
    "look at the indices: a value that the vocabulary lacks may have become the padding index",
    one_index,
)
NO_INPUTS = Cause(
    "a factor of 0, or dropout of everything, before a layer", "take the factor or the dropout out", constant_outputs
)
SATURATED = Cause(
    "activations that saturate, as sigmoid and tanh do",
    "scale inputs and initial weights to about 1, normalise, or take ReLU or GELU",
    saturated,
)
DEPTH = Cause(
    "depth without skip connections, with sigmoid or tanh, or with small initial weights",
    "take ReLU or GELU, initialise by fan-in (Glorot, He), normalise, or add skip connections",
    depth,
)
SHUT_GATES = Cause(
    "gates of a recurrent layer that are shut, as by a large bias",
    "initialise the biases of the gates at 0, that of an LSTM's forget gate at 1",
    shut_gates,
)
FAR_OUTPUTS = Cause(
    "outputs far from 0, where sigmoid and softmax are flat",
    "use a loss on logits (cross_entropy, binary_cross_entropy_with_logits), or lower the learning rate",
    far_outputs,
)
NEGATIVE_BIAS = Cause(
    "a large negative bias",
    "initialise the bias at 0; lower the learning rate, or take LeakyReLU or GELU",
    negative_bias,
)
