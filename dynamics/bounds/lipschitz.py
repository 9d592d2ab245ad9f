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
from dynamics.norms.interventions.centring import InterventionalCentring
from dynamics.norms.mean_centring import MeanCentring
from dynamics.norms.operator_norm_bound import input_shapes
from dynamics.norms.released import ReleasedMeanCentring
from dynamics.norms.surgery.deparametrize import quiet_weight
from dynamics.norms.surgery.traced_graph import trace
from dynamics.norms.torch_internals import BatchNorm
from dynamics.norms.weight_matrix import LAYERS, TRANSPOSED
from probes.metrics.operator_norm import conv_operator_norm

# Modules with Lipschitz constant 1: shifts, rearrangements, activations of slope at most 1.
NON_EXPANSIVE = (
    nn.ReLU,
    nn.ReLU6,
    nn.Tanh,
    nn.Sigmoid,
    nn.Dropout,
    nn.Identity,
    nn.Flatten,
    MeanCentring,
    ChannelBias,
)
AVERAGES = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
MAXIMA = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
REARRANGING = {
    *("flatten", "view", "reshape", "transpose", "permute", "squeeze", "unsqueeze", "contiguous", "clone", "getitem"),
    *("mean", "relu", "relu_", "avg_pool2d"),
}


def unfolded_norms(model: nn.Module) -> dict[str, float]:
    """Return the spectral norm of each layer's unfolded matrix, the paper's sigma(W), by the layer's name."""
    matrices = layer_matrices(model)
    return dict(zip(matrices, spectral_norms(list(matrices.values())).tolist(), strict=True)) if matrices else {}


def operator_norms(model: nn.Module, example: Tensor, *, iterations: int = 40) -> dict[str, float]:
    """Return the largest stretch of an input by each layer's linear map, by the layer's name.

    Convolutions are measured by Golub-Kahan-Lanczos, which approaches the norm from below. Linear layers are measured
    by their singular values.

    Args:
        model: Run once on ``example``, in eval mode, to see each layer's input.
        example: One batch.
        iterations: Lanczos steps for each convolution.
    """
    shapes = input_shapes(model, example)
    names = {module: name for name, module in model.named_modules()}
    return {names[layer]: operator_norm(layer, shape, iterations=iterations) for layer, shape in shapes.items()}


def operator_norm(layer: nn.Module, input_shape: tuple[int, ...], *, iterations: int = 40) -> float:
    """Return the largest stretch of one input by a layer without its bias; ``input_shape`` excludes the batch."""
    weight = quiet_weight(layer)
    if isinstance(layer, nn.Linear):
        return float(spectral_norms([weight])[0])
    conv = cast(nn.Conv2d, layer)
    if isinstance(layer, TRANSPOSED):
        # A transposed convolution has the operator norm of the convolution that it transposes.
        with torch.no_grad():
            input_shape = tuple(conv(weight.new_zeros(1, *input_shape)).shape[1:])
    norm = conv_operator_norm(
        weight,
        stride=conv.stride,
        padding=conv.padding,
        dilation=conv.dilation,
        groups=conv.groups,
        padding_mode=conv.padding_mode,
        input_shape=input_shape,
        iterations=iterations,
    )
    return float(norm)


def lipschitz_bound(model: nn.Module, norms: Mapping[str, float]) -> float:
    """Return an upper bound of ``|f(x) - f(y)| / |x - y|`` of the network in evaluation.

    Along the forward each module multiplies the bound: a layer by its norm, batch norm by its largest
    ``|scale| / sqrt(variance + eps)``, an activation by 1, and a maximum over windows by the square root of the number
    of windows that an input is in. A sum adds the bounds of its terms, so a residual block multiplies by
    ``1 + the bound of its branch``. A concatenation takes the root of the sum of squares. With ``operator_norms`` the
    bound holds up to the error of Lanczos, which approaches each norm from below. With ``unfolded_norms`` the result is
    the paper's product of sigma(W), which is not a bound. Folding the norms first gives a smaller bound:
    :func:`dynamics.bounds.bracket.lipschitz_bracket`.

    Args:
        model: A network of layers, norms, activations, poolings, sums and concatenations.
        norms: The norm of each layer, by its name.

    Raises:
        ValueError: The forward cannot be traced, has an operation without a known bound (such as attention's product
            of two activations), or has a layer that is missing from ``norms``.

    Source: Miyato et al. 2018, Eq. 7; Szegedy et al. 2014, section 4.3.
    """
    modules = dict(model.named_modules())
    bounds: dict[fx.Node, float] = {}
    for node in trace(model).nodes:
        inputs = [bounds[source] for source in _sources(node)]
        if node.op in {"placeholder", "get_attr"}:
            bounds[node] = float(node.op == "placeholder")  # a constant does not depend on the input
        elif node.op == "call_module":
            name = str(node.target)
            bounds[node] = inputs[0] * _factor(name, modules[name], norms)
        elif node.op == "output":
            return inputs[0]
        else:
            bounds[node] = _combine(node, inputs)
    raise AssertionError("a traced graph ends in its output")


def _sources(node: fx.Node) -> list[fx.Node]:
    """Return the nodes that ``node`` reads, each as often as it is read: ``x + x`` reads x twice."""
    found: list[fx.Node] = []
    fx.node.map_arg((node.args, node.kwargs), found.append)
    return found


def _factor(name: str, module: nn.Module, norms: Mapping[str, float]) -> float:
    if isinstance(module, LAYERS):
        if name not in norms:
            raise ValueError(f"lipschitz_bound: no norm given for layer {name!r}")
        return norms[name]
    if (factor := module_factor(module)) is None:
        raise ValueError(f"lipschitz_bound: no bound known for {name!r}, a {type(module).__name__}")
    return factor


def module_factor(module: nn.Module) -> float | None:
    """Return a Lipschitz constant in evaluation of a module that is no layer; None if no constant is known."""
    if isinstance(module, BatchNorm):
        variance, scale = module.running_var, module.weight
        if variance is None:  # the batch's own moments are used: the output is no function of one input
            return None
        stretch = (variance + module.eps).rsqrt() * (1 if scale is None else scale.detach().abs())
        return float(stretch.max())
    if isinstance(module, ReleasedMeanCentring | InterventionalCentring):
        return 1.0 if module.weight is None else float(module.weight.detach().abs().max())
    if isinstance(module, nn.LeakyReLU):
        return max(1.0, abs(module.negative_slope))
    if isinstance(module, MAXIMA):
        return _windows(module) ** 0.5
    whole = isinstance(module, nn.AdaptiveAvgPool2d) and module.output_size in {1, (1, 1)}
    return 1.0 if whole or _averages(module) or isinstance(module, NON_EXPANSIVE) else None


def _averages(module: nn.Module) -> bool:
    """Return whether a module averages windows of one size, so that its Lipschitz constant is at most 1.

    An input is in at most ``size`` windows, with the weight ``1 / size`` in each.
    """
    if not isinstance(module, AVERAGES) or module.ceil_mode or getattr(module, "divisor_override", None) is not None:
        return False
    padded = any(module.padding) if isinstance(module.padding, tuple) else module.padding
    return module.count_include_pad or not padded


def _windows(pool: nn.Module) -> int:
    """Return the largest number of a max pooling's windows that hold the same input."""
    dimensions = next(d for d, kind in enumerate(MAXIMA, start=1) if isinstance(pool, kind))
    sizes = [getattr(pool, setting) for setting in ("kernel_size", "stride", "dilation")]
    kernel, stride, dilation = (size if isinstance(size, tuple) else (size,) * dimensions for size in sizes)
    # A dilated window can hold an input at each of its k positions.
    return math.prod(k if d > 1 else -(-k // s) for k, s, d in zip(kernel, stride, dilation, strict=True))


def _combine(node: fx.Node, inputs: list[float]) -> float:
    name = node.target if isinstance(node.target, str) else node.target.__name__
    if node.target in {torch.cat, torch.concat}:
        return math.sqrt(sum(bound**2 for bound in inputs))
    if node.target in {operator.add, operator.iadd, torch.add} or name in {"add", "add_"}:
        return sum(inputs)
    if name in REARRANGING:
        return inputs[0]
    raise ValueError(f"lipschitz_bound: no bound known for the operation {name!r}")
