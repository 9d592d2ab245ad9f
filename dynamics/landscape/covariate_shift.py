"""Internal covariate shift: the change of a layer's gradient when the layers before it have been updated."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dynamics.landscape.batch_loss import BatchLoss, flat
from dynamics.norms.weight_matrix import LAYERS


class Shift(NamedTuple):
    """The change of one layer's gradient, from G to G'.

    Attributes:
        l2: ``|G - G'|``.
        cosine: Cosine of the angle between G and G'; NaN if G or G' is zero.
    """

    l2: float
    cosine: float


def covariate_shifts(loss: BatchLoss, updated: Mapping[str, Tensor], layers: Sequence[str]) -> dict[str, Shift]:
    """Return the internal covariate shift of layers, by the layer's name.

    G is the gradient of the loss with respect to the layer's parameters. G' is the same gradient on the same batch,
    after only the parameters before the layer have been updated. Parameters come in the network's
    order.

    Args:
        loss: The loss on one batch, at the parameters before the update.
        updated: All parameters after the update, by name; see :func:`after_step`.
        layers: Names of modules that own parameters. The first layer has no layer before it: its shift is 0.

    Raises:
        ValueError: A name of ``layers`` is no module with trained parameters.

    Source: Santurkar, Tsipras, Ilyas and Madry 2018, definition 2.1.
    """
    now = loss.parameters
    before = loss.gradient(now).gradient
    return {layer: _shift(loss, now, updated, before, layer) for layer in layers}


def layers_to_follow(model: nn.Module, *, most: int) -> list[str]:
    """Return at most ``most`` linear and convolution layers, evenly spaced, with the last and without the first."""
    layers = [name for name, module in model.named_modules() if isinstance(module, LAYERS)][1:]
    count = min(most, len(layers))
    return [layers[round((place + 1) * len(layers) / count) - 1] for place in range(count)]


def after_step(
    optimizer: Optimizer, parameters: Mapping[str, Tensor], gradient: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return the parameters after one more step of an optimizer. Neither optimizer nor parameters are changed.

    Args:
        optimizer: An optimizer of torch that trains these parameters in this order, in one group.
        parameters: Parameters by name.
        gradient: Gradients by the parameter's name.
    """
    moved = {name: p.detach().clone().requires_grad_() for name, p in parameters.items()}
    for name, p in moved.items():
        p.grad = gradient[name].detach().clone()
    kind: Callable[..., Optimizer] = type(optimizer)
    twin = kind(list(moved.values()))
    twin.load_state_dict(copy.deepcopy(optimizer.state_dict()))  # with learning rates; a copy, or moments are shared
    twin.step()
    return {name: p.detach() for name, p in moved.items()}


def mean_shift(shifts: Mapping[str, Shift]) -> Shift:
    """Return the mean over layers; NaN if there are no layers."""
    count = len(shifts) or math.nan
    return Shift(sum(shift.l2 for shift in shifts.values()) / count, sum(s.cosine for s in shifts.values()) / count)


def _shift(
    loss: BatchLoss,
    now: Mapping[str, Tensor],
    updated: Mapping[str, Tensor],
    before: Mapping[str, Tensor],
    layer: str,
) -> Shift:
    own = [name for name in now if name.startswith(f"{layer}.")]
    if not own:
        raise ValueError(f"covariate_shifts: expected layers with parameters that are trained, got {layer!r}")
    names = list(now)
    changed = names[: names.index(own[0])]
    after = loss.gradient({**now, **{name: updated[name] for name in changed}}).gradient
    G, G_after = (flat({name: gradient[name] for name in own}) for gradient in (before, after))
    lengths = torch.linalg.vector_norm(G) * torch.linalg.vector_norm(G_after)
    return Shift(float(torch.linalg.vector_norm(G - G_after)), float(G @ G_after / lengths))
