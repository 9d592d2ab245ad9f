"""The Lipschitz bracket of a network in evaluation: an upper bound, and the stretch measured at real inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dynamics.bounds.folded_network import folded
from dynamics.bounds.input_jacobian import jacobian_norms, margin_gradient_norms
from dynamics.bounds.layer_stretch import layer_stretches
from dynamics.bounds.lipschitz import lipschitz_bound, operator_norms, unfolded_norms
from dynamics.norms.weight_matrix import LAYERS


def lipschitz_bracket(model: nn.Module, inputs: Tensor, labels: Tensor) -> dict[str, float | None]:
    """Return bounds of a classifier's Lipschitz constant in evaluation, and its stretch measured at ``inputs``.

    Norms are folded first, so that batch norm's own scale is part of the layers' norms. Keys:

    - ``lipschitz_bound``: :func:`~dynamics.bounds.lipschitz.lipschitz_bound` with the layers' operator norms.
    - ``unfolded_product``: the same product with the spectral norms of the unfolded matrices, the paper's sigma(W). For
      a network with convolutions it is no bound. Both are None if no bound is known, see :func:`why_unbounded`.
    - ``jacobian_norm``, ``jacobian_norm_mean``: largest and mean :func:`~dynamics.bounds.input_jacobian.jacobian_norms`
      of the inputs. Both are lower bounds of the Lipschitz constant.
    - ``margin_gradient_norm``: largest length of a margin's gradient, at most ``sqrt(2) lipschitz_bound``.
    - ``layer_stretch_min``, ``layer_stretch_max``: smallest and largest of
      :func:`~dynamics.bounds.layer_stretch.layer_stretches` over the layers.
    - ``layer_tightness``: geometric mean over layers of stretch / operator norm, 0 to 1.

    NaN in the network gives NaN. The model is not changed. The cost is 25 forwards and backwards on the inputs, and for
    each convolution 40 on one input.

    Args:
        model: Maps inputs to logits, ``(n, classes)``, two classes or more. It has a linear or convolution layer.
        inputs: Inputs from the data set, ``(n, ...)``.
        labels: ``(n,)``.
    """
    network = folded(model)
    operator = operator_norms(network, inputs[:1])  # goes first: its forward projects the weights of a released norm
    stretches = layer_stretches(network, inputs, labels)
    norms = jacobian_norms(network, inputs)
    return {
        **_upper_bounds(network, operator),
        "jacobian_norm": float(norms.max()),
        "jacobian_norm_mean": float(norms.mean()),
        "margin_gradient_norm": float(margin_gradient_norms(network, inputs, labels).max()),
        **_summary(stretches, operator),
    }


def why_unbounded(model: nn.Module) -> str:
    """Return the reason why a network has no :func:`~dynamics.bounds.lipschitz.lipschitz_bound`; empty if it has."""
    layers = {name: 1.0 for name, module in model.named_modules() if isinstance(module, LAYERS)}
    try:
        lipschitz_bound(folded(model), layers)
    except ValueError as error:
        return str(error)
    return ""


def _upper_bounds(network: nn.Module, operator: Mapping[str, float]) -> dict[str, float | None]:
    if why_unbounded(network):
        return {"lipschitz_bound": None, "unfolded_product": None}
    return {
        "lipschitz_bound": lipschitz_bound(network, operator),
        "unfolded_product": lipschitz_bound(network, unfolded_norms(network)),
    }


def _summary(stretches: Mapping[str, float], operator: Mapping[str, float]) -> dict[str, float]:
    values = torch.tensor(list(stretches.values()), dtype=torch.float64)
    norms = torch.tensor([operator[name] for name in stretches], dtype=torch.float64)
    return {
        "layer_stretch_min": float(values.min()),
        "layer_stretch_max": float(values.max()),
        "layer_tightness": math.exp(float((values / norms).log().mean())),
    }
