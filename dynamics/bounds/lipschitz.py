"""An upper bound of a network's Lipschitz constant in evaluation mode: layer bounds multiplied along its graph."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, fx, nn

from dynamics.bounds.complexity import layer_matrices, spectral_norms
from dynamics.norms.channel_bias import ChannelBias
from dynamics.norms.mean_centring import MeanCentring
from dynamics.norms.operator_norm_bound import input_shapes
from dynamics.norms.surgery.deparametrize import quiet_weight
from dynamics.norms.surgery.traced_graph import trace
from dynamics.norms.torch_internals import BatchNorm
from dynamics.norms.weight_matrix import LAYERS, TRANSPOSED
from probes.metrics.operator_norm import conv_operator_norm

# Modules with Lipschitz constant 1: shifts, rearrangements, slopes of at most 1.
NON_EXPANSIVE = (
    nn.ReLU,
    nn.LeakyReLU,
    nn.Tanh,
    nn.Sigmoid,
    nn.Dropout,
    nn.Identity,
    nn.Flatten,
    MeanCentring,
    ChannelBias,
)
# So have maxima and averages of windows that do not overlap.
WINDOWED = (nn.MaxPool2d, nn.AvgPool2d)
REARRANGING = {"flatten", "view", "reshape", "contiguous", "clone", "mean", "getitem", "relu", "relu_", "avg_pool2d"}


def unfolded_norms(model: nn.Module) -> dict[str, float]:
    """Return the spectral norm of each layer's unfolded matrix, the paper's sigma(W), by the layer's name."""
    matrices = layer_matrices(model)
    return dict(zip(matrices, spectral_norms(list(matrices.values())).tolist(), strict=True)) if matrices else {}


def operator_norms(model: nn.Module, example: Tensor, *, iterations: int = 40) -> dict[str, float]:
    """Return the largest stretch of an input by each layer's linear map, by the layer's name.

    Convolutions by Golub-Kahan-Lanczos, which approaches the norm from below; linear layers by their singular values.

    Args:
        model: Run once on ``example``, in eval mode, to see each layer's input.
        example: One batch.
        iterations: Lanczos steps a convolution.
    """
    shapes = input_shapes(model, example)
    names = {module: name for name, module in model.named_modules()}
    return {names[layer]: operator_norm(layer, shape, iterations=iterations) for layer, shape in shapes.items()}


def operator_norm(layer: nn.Module, input_shape: tuple[int, ...], *, iterations: int = 40) -> float:
    """Return the largest stretch of an input of this shape, without the batch, by a layer without its bias."""
    weight = quiet_weight(layer)
    if isinstance(layer, nn.Linear):
        return float(spectral_norms([weight])[0])
    conv = cast(nn.Conv2d, layer)
    if isinstance(layer, TRANSPOSED):
        # A transposed convolution stretches as much as the convolution it is the transpose of.
        with torch.no_grad():
            input_shape = tuple(conv(weight.new_zeros(1, *input_shape)).shape[1:])
    norm = conv_operator_norm(
        weight,
        stride=conv.stride,
        padding=conv.padding,
        dilation=conv.dilation,
        groups=conv.groups,
        input_shape=input_shape,
        iterations=iterations,
    )
    return float(norm)


def lipschitz_bound(model: nn.Module, norms: Mapping[str, float]) -> float:
    """Return an upper bound of ``|f(x) - f(y)| / |x - y|`` of the network in evaluation.

    Along the forward: a layer multiplies by its norm, batch norm by its largest ``|scale| / sqrt(variance + eps)``,
    activations and poolings by 1, a sum adds, a concatenation adds in squares. With ``operator_norms`` the bound holds
    up to how far Lanczos stayed below; with ``unfolded_norms`` it is the paper's product of sigma(W), which is none.

    Args:
        model: A network of layers, norms, activations, poolings, sums and concatenations.
        norms: The norm of each layer, by its name.

    Raises:
        ValueError: The forward cannot be traced, does something else than the above, or has a layer that is missing
            from ``norms``.

    Source: Miyato et al. 2018, Eq. 7; Szegedy et al. 2014, section 4.3.
    """
    modules = dict(model.named_modules())
    bounds: dict[fx.Node, float] = {}
    for node in trace(model).nodes:
        inputs = [bounds[source] for source in _sources(node)]
        if node.op in {"placeholder", "get_attr"}:
            bounds[node] = 1.0
        elif node.op == "call_module":
            name = str(node.target)
            bounds[node] = inputs[0] * _factor(name, modules[name], norms)
        elif node.op == "output":
            return inputs[0]
        else:
            bounds[node] = _combine(node, inputs)
    raise AssertionError("a traced graph ends in its output")


def _sources(node: fx.Node) -> list[fx.Node]:
    """Return the nodes that this one reads, as often as it reads them: ``x + x`` reads x twice."""
    found: list[fx.Node] = []
    fx.node.map_arg((node.args, node.kwargs), found.append)
    return found


def _factor(name: str, module: nn.Module, norms: Mapping[str, float]) -> float:
    if isinstance(module, LAYERS):
        if name not in norms:
            raise ValueError(f"lipschitz_bound: no norm given for layer {name!r}")
        return norms[name]
    if isinstance(module, BatchNorm):
        variance, scale = cast(Tensor, module.running_var), module.weight
        stretch = (variance + module.eps).rsqrt() * (1 if scale is None else scale.detach().abs())
        return float(stretch.max())
    windowed = isinstance(module, WINDOWED) and module.kernel_size == module.stride and not module.padding
    if isinstance(module, NON_EXPANSIVE) or windowed:
        return 1.0
    raise ValueError(f"lipschitz_bound: no bound known for {name!r}, a {type(module).__name__}")


def _combine(node: fx.Node, inputs: list[float]) -> float:
    name = node.target if isinstance(node.target, str) else node.target.__name__
    if node.target in {torch.cat, torch.concat}:
        return math.sqrt(sum(bound**2 for bound in inputs))
    if node.target in {operator.add, operator.iadd, torch.add} or name in {"add", "add_"}:
        return sum(inputs)
    if name in REARRANGING:
        return inputs[0]
    raise ValueError(f"lipschitz_bound: no bound known for the operation {name!r}")
