"""Folding norms into the layers before them, for inference: W / sigma becomes the weight, the running mean the bias."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights

from dynamics.norms.channel_bias import ChannelBias
from dynamics.norms.mean_centring import MeanCentring
from dynamics.norms.surgery.deparametrize import deparametrize, is_reparametrised, quiet_weight
from dynamics.norms.surgery.traced_graph import trace
from dynamics.norms.torch_internals import BatchNorm
from dynamics.norms.weight_matrix import LAYERS, TRANSPOSED

FOLDABLE = (MeanCentring, ChannelBias, BatchNorm)
AVERAGES = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)


def fold(model: nn.Module) -> nn.Module:
    """Return a copy for inference: plain layers, same outputs as ``model.eval()`` up to rounding.

    Every reparametrised weight becomes the plain weight that evaluation multiplies by. A mean-centring, a channel bias
    or a batch norm that alone reads a layer's output, or averages of it, goes into that layer's weight and bias; where
    a Sequential held it nothing is left, elsewhere an ``nn.Identity``. One that reads something else (the concatenated
    channels of a DenseNet with batch norm) has no layer to go into: a centring leaves the :class:`ChannelBias`
    ``m - running mean``, a batch norm stays.

    Raises:
        ValueError: There is nothing to fold, or the forward cannot be traced (it branches on values).
    """
    if not any(isinstance(m, FOLDABLE) or is_reparametrised(m) for m in model.modules()):
        raise ValueError(f"{type(model).__name__} has nothing to fold: no reparametrised weight, no norm")
    model = copy.deepcopy(model).eval()
    for module in list(model.modules()):
        if isinstance(module, LAYERS) and is_reparametrised(module):
            deparametrize(module, quiet_weight(module))
    for norm_name, layer in _pairs(model).items():
        _absorb(layer, model.get_submodule(norm_name))
        _remove(model, norm_name)
    for name, module in list(model.named_modules()):
        if isinstance(module, MeanCentring):
            _put(model, name, _rest(module))
    return model.requires_grad_(False)


def _pairs(model: nn.Module) -> dict[str, nn.Module]:
    """Return, by the norm's name, the layer whose output, or averages of it, the norm alone reads, both called once."""
    graph = trace(model)
    modules = dict(model.named_modules())
    calls = [node for node in graph.nodes if node.op == "call_module"]
    targets = [modules[str(node.target)] for node in calls]
    pairs: dict[str, nn.Module] = {}
    for node, norm in zip(calls, targets, strict=True):
        if not isinstance(norm, FOLDABLE):
            continue
        layer = _module_before(node, modules)
        if isinstance(layer, LAYERS) and targets.count(layer) == 1 and targets.count(norm) == 1:
            pairs[str(node.target)] = layer
    return pairs


def _module_before(node: fx.Node, modules: dict[str, nn.Module]) -> nn.Module | None:
    """Return the module whose output this call alone reads, behind averages or directly; None if there is none."""
    source = node.args[0] if node.args else None
    if not isinstance(source, fx.Node) or source.op != "call_module" or len(source.users) > 1:
        return None
    module = modules[str(source.target)]
    return _module_before(source, modules) if _averages(module) else module


def _averages(module: nn.Module) -> bool:
    """Return whether a module takes means, and no zeros into them: scale and shift of a channel may go before it."""
    if not isinstance(module, AVERAGES) or getattr(module, "divisor_override", None) is not None:
        return False
    return not any(module.padding) if isinstance(module.padding, tuple) else module.padding == 0


@torch.no_grad()
def _absorb(layer: nn.Module, norm: nn.Module) -> None:
    """Change the layer so that its output is that of layer and norm in evaluation."""
    if isinstance(norm, BatchNorm):
        _absorb_batch_norm(layer, norm)
        return
    shift = _shift(norm)
    bias = shift if layer.bias is None else layer.bias.to(shift) + shift  # type: ignore[operator]
    layer.bias = nn.Parameter(bias)


def _absorb_batch_norm(layer: nn.Module, norm: BatchNorm) -> None:
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError(f"fold: expected a batch norm with running moments, got {norm}")
    moments = (norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias)
    if isinstance(layer, nn.Linear):
        layer.weight, layer.bias = fuse_linear_bn_weights(layer.weight, layer.bias, *moments)
        return
    weight, bias = layer.weight, layer.bias
    layer.weight, layer.bias = fuse_conv_bn_weights(weight, bias, *moments, transpose=isinstance(layer, TRANSPOSED))  # type: ignore[arg-type]


def _shift(norm: nn.Module) -> Tensor:
    """Return what evaluation adds to each channel: ``m - running mean``."""
    mean = norm.running_mean if isinstance(norm, MeanCentring) else None
    bias = norm.bias
    assert isinstance(bias, Tensor) or isinstance(mean, Tensor)
    if mean is None:
        return bias.detach().clone()  # type: ignore[operator]
    return -mean if bias is None else bias.detach() - mean  # type: ignore[operator]


def _rest(norm: MeanCentring) -> ChannelBias:
    rest = ChannelBias(norm.num_features, inplace=norm.inplace)
    rest.bias = nn.Parameter(_shift(norm))
    return rest.eval()


def _remove(model: nn.Module, name: str) -> None:
    parent = model.get_submodule(name.rpartition(".")[0])
    if isinstance(parent, nn.Sequential):
        delattr(parent, name.rpartition(".")[2])
    else:
        _put(model, name, nn.Identity())


def _put(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
