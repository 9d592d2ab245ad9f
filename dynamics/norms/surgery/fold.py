"""Folding norms into the layers before them, for inference: W / sigma becomes the weight, the running mean the bias."""

from __future__ import annotations

import copy
import warnings

from torch import fx, nn
from torch.nn.utils import parametrize

from dynamics.norms.channel_bias import ChannelBias
from dynamics.norms.mean_centring import MeanCentring
from dynamics.norms.spectral.precompute import stop_precomputing
from dynamics.norms.spectral.stacked_matrices import STACKED, is_divided
from dynamics.norms.surgery.absorb import absorb, evaluation_shift
from dynamics.norms.surgery.deparametrize import deparametrize, make_plain, quiet_tensors, quiet_weight
from dynamics.norms.surgery.overridden_forward import NORM_MODULES, computes_as, modules_behind
from dynamics.norms.surgery.traced_graph import trace
from dynamics.norms.torch_internals import BatchNorm, has_forward_hooks
from dynamics.norms.weight_matrix import LAYERS, output_channels

AVERAGES = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
SHOWN = 8  # modules that a warning names with their reasons


def fold(model: nn.Module) -> nn.Module:
    """Return a copy for inference: plain layers, same outputs as ``model.eval()`` up to rounding.

    Every reparametrised weight becomes the plain weight that evaluation multiplies by. A mean-centring, a channel bias
    or a batch norm goes into the weight and bias of the layer before it, if nothing else reads that layer's output.
    Average pooling may stand between the two. The folded norm is removed from a Sequential; elsewhere an
    ``nn.Identity`` replaces it. The activation of a batch norm subclass (timm's BatchNormAct2d) takes the place of the
    norm. No hook of ``dynamics`` stays.

    A norm with another input (the concatenated channels of a DenseNet with batch norm) has no layer to be folded into.
    Such a centring is replaced by the :class:`ChannelBias` ``m - running mean``; any other such norm stays as it is. No
    norm is folded into a layer that has hooks or whose subclass has another forward, because such a layer may not
    multiply by its weight.

    A norm behind a linear layer is folded if both have the same number of channels. Shapes are not checked: do not fold
    a network whose norm reads ``(N, L, L)``: its channels are then not the layer's outputs. A norm of sequences
    (``channel_dim=-1``) is folded into linear layers only.

    Warns:
        UserWarning: Norms or reparametrised tensors are left. The warning names each, with the reason.

    Raises:
        ValueError: There is nothing to fold, or the forward cannot be traced (it branches on values).
    """
    if not any(isinstance(m, NORM_MODULES) or parametrize.is_parametrized(m) for m in model.modules()):
        raise ValueError(f"{type(model).__name__} has nothing to fold: no reparametrised weight, no norm")
    model = copy.deepcopy(model).eval()
    stop_precomputing(model)
    left = _make_weights_plain(model)
    calls = _Calls(model)
    for name, norm in list(model.named_modules()):
        if isinstance(norm, NORM_MODULES):
            layer = calls.layer_before(norm)
            if isinstance(layer, nn.Module):
                absorb(layer, norm)
                _replace(model, norm, list((modules_behind(norm) or {}).values()))
                continue
            left[name] = layer
            if isinstance(norm, MeanCentring) and computes_as(norm, NORM_MODULES) and not has_forward_hooks(norm):
                _replace(model, norm, [_shift_alone(norm)])
    if left:
        warnings.warn(_what_is_left(left), stacklevel=2)
    return model.requires_grad_(False)


def _make_weights_plain(model: nn.Module) -> dict[str, str]:
    """Replace every reparametrised weight by its value; return the modules with other reparametrised tensors."""
    left = {}
    for name, module in list(model.named_modules()):
        if parametrize.is_parametrized(module):
            tensors = list(module.parametrizations)
            if tensors == ["weight"]:
                deparametrize(module, quiet_weight(module))
            elif isinstance(module, STACKED) and is_divided(module):
                make_plain(module, quiet_tensors(module))
            else:
                left[name] = f"reparametrised: {', '.join(tensors)}; a weight alone would be folded"
    return left


class _Calls:
    """The calls of a network's modules in one forward."""

    def __init__(self, model: nn.Module) -> None:
        self._modules = dict(model.named_modules())
        calls = [node for node in trace(model, leaves=NORM_MODULES).nodes if node.op == "call_module"]
        self._calls: dict[nn.Module, list[fx.Node]] = {}
        for node in calls:
            self._calls.setdefault(self._modules[str(node.target)], []).append(node)

    def layer_before(self, norm: nn.Module) -> nn.Module | str:  # noqa: PLR0911 - a return a reason
        """Return the layer that a norm can go into, or the reason why there is none."""
        calls = self._calls.get(norm, [])
        if len(calls) != 1:
            return f"the forward calls it {len(calls)} times"
        if modules_behind(norm) is None or has_forward_hooks(norm):
            return f"{type(norm).__name__} has a forward or hooks of its own"
        if isinstance(norm, BatchNorm) and norm.running_mean is None:
            return "it has no running moments"
        channel_dim = getattr(norm, "channel_dim", 1)
        source = _source(calls[0], self._modules)
        if source is None:
            return "it reads no module's output, or one that something else reads too"
        before, layer = str(source.target), self._modules[str(source.target)]
        if not isinstance(layer, LAYERS):
            return f"it reads the output of {before}, a {type(layer).__name__}"
        if len(self._calls[layer]) != 1:
            return f"the forward calls {before} {len(self._calls[layer])} times"
        if not computes_as(layer, LAYERS) or has_forward_hooks(layer) or parametrize.is_parametrized(layer):
            return f"{before} has a forward or hooks of its own, or a reparametrised tensor"
        if channel_dim != 1 and not (channel_dim == -1 and isinstance(layer, nn.Linear)):
            return f"it has its channels in dimension {channel_dim}, where {before} has none"
        if output_channels(layer) != norm.num_features:
            return f"it has {norm.num_features} channels, and {before} {output_channels(layer)}"
        return layer


def _source(node: fx.Node, modules: dict[str, nn.Module]) -> fx.Node | None:
    """Return the call whose output only this call reads, directly or through averages; None if there is none."""
    source = node.args[0] if node.args else None
    if not isinstance(source, fx.Node) or source.op != "call_module" or len(source.users) > 1:
        return None
    return _source(source, modules) if _averages(modules[str(source.target)]) else source


def _averages(module: nn.Module) -> bool:
    """Return whether a module averages without padding zeros: a channel's scale and shift may move before it."""
    if not isinstance(module, AVERAGES) or getattr(module, "divisor_override", None) is not None:
        return False
    return not any(module.padding) if isinstance(module.padding, tuple) else module.padding == 0


def _shift_alone(norm: MeanCentring) -> ChannelBias:
    """Return the channel bias that does what a mean-centring does in evaluation."""
    bias = ChannelBias(norm.num_features, channel_dim=norm.channel_dim, inplace=norm.inplace)
    bias.bias = nn.Parameter(evaluation_shift(norm))
    return bias.eval()


def _replace(model: nn.Module, old: nn.Module, new: list[nn.Module]) -> None:
    """Replace ``old`` by the modules ``new`` under each of its names. No identity is put into a Sequential."""
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if module is not old:
            continue
        parent_name, _, child = name.rpartition(".")
        parent = model.get_submodule(parent_name)
        if not new and isinstance(parent, nn.Sequential):
            delattr(parent, child)
        else:
            setattr(parent, child, new[0] if len(new) == 1 else nn.Sequential(*new) if new else nn.Identity())


def _what_is_left(left: dict[str, str]) -> str:
    named = "; ".join(f"{name or 'the model itself'} ({reason})" for name, reason in list(left.items())[:SHOWN])
    more = f"; and {len(left) - SHOWN} more: {', '.join(list(left)[SHOWN:])}" if len(left) > SHOWN else ""
    return f"fold left {len(left)} unfolded: {named}{more}"
