"""Conversion of a network between batch norm, spectral norm, mean spectral norm and no norm."""

from __future__ import annotations

import copy as copying
from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn.utils import parametrize

from dynamics.norms.batch_norm import batch_norm
from dynamics.norms.channel_bias import ChannelBias
from dynamics.norms.mean_centring import MeanCentring
from dynamics.norms.spectral.precompute import precompute_before_forward, stop_precomputing
from dynamics.norms.spectral.spectral_norm import SpectralNorm, spectral_norm
from dynamics.norms.spectral.stacked_matrices import STACKED, is_divided, spectral_norm_of_matrices
from dynamics.norms.surgery.changes import changes, described
from dynamics.norms.surgery.deparametrize import (
    deparametrize,
    is_reparametrised,
    make_plain,
    original_tensors,
    original_weight,
)
from dynamics.norms.surgery.layer_norms import LAYER_NORMS, check_layer_norms, exchange_layer_norms
from dynamics.norms.surgery.overridden_forward import NORM_MODULES, modules_behind
from dynamics.norms.torch_internals import BatchNorm
from dynamics.norms.weight_matrix import LAYERS

KINDS = ("none", "bn", "sn", "msn")
EXCHANGED = ("batch", "layer")


def convert(
    model: nn.Module,
    norm: str,
    *,
    exchange: Sequence[str] = ("batch",),
    inplace: bool = False,
    say: Callable[[str], object] | None = None,
) -> nn.Module:
    """Return the network with another norm: every weight reparametrised, every norm module exchanged.

    | norm | weight of linear layers and convolutions | replacement of a norm |
    |---|---|---|
    | ``none`` | W | the shift m alone (:class:`ChannelBias`) |
    | ``bn`` | W | batch norm |
    | ``sn`` | W / sigma(W) | the shift m alone |
    | ``msn`` | W / sigma(W) | ``h - E[h] + m`` (:class:`MeanCentring`) |

    The shift m starts from beta of the batch norm. Scale and running moments start anew, because they belong to another
    pre-activation. A batch norm without scale and shift is replaced by a norm without m. Weights are kept. Modules are
    found by their type, so the network may come from any library.

    | module of the network | result |
    |---|---|
    | BatchNorm1d, 2d, 3d and subclasses | exchanged |
    | a subclass with an activation (timm's BatchNormAct2d) | exchanged, in a Sequential with its activation |
    | SyncBatchNorm | exchanged; ``msn`` takes its means over the same processes |
    | LazyBatchNorm | exchanged once it has channels, else refused |
    | a subclass with another forward | refused |
    | MultiheadAttention; LSTMCell, GRUCell, RNNCell | each stacked matrix (queries, gates) divided by its own sigma |
    | LSTM, GRU, RNN | kept |
    | LayerNorm, RMSNorm | kept; with ``exchange=("layer",)`` exchanged, but never for ``bn`` |
    | instance, group and frozen norms | kept |
    | embeddings | kept; :func:`spectral_norm` takes them one by one |

    A layer norm's scale is dropped, and m starts from its shift. An RMS norm has no shift: m starts from 0 in ``msn``,
    and ``sn`` leaves no module in its place. The mean of ``msn`` is over batch and time, see
    :class:`~dynamics.norms.mean_centring.MeanCentring`. torch's transformer encoders no longer take their fast path.

    Copies are made by ``copy.deepcopy``. torch cannot pickle a reparametrised module (``sn``, ``msn``): save the
    ``state_dict``, or the network that :func:`fold` returns.

    Args:
        model: Any network, for example one of torchvision.
        norm: ``none``, ``bn``, ``sn`` or ``msn``.
        exchange: The norms that are exchanged: ``"batch"``, ``"layer"`` (LayerNorm and RMSNorm over the last
            dimension), or both.
        inplace: Change the model itself instead of a copy.
        say: A function such as ``print``. It is called with a line for each kind of change, and for each kind of layer
            and norm that was kept.

    Raises:
        ValueError: The norm is unknown or cannot be exchanged; the network has no linear or convolution layer, or no
            norm to replace by ``msn`` or ``bn``; a batch norm has no running moments, a cumulative average or no
            channels yet; a subclass of a norm computes more than the norm; a layer norm has several dimensions or would
            become batch norm; another parametrization already computes a weight. The message names the module.
    """
    if norm not in KINDS:
        raise ValueError(f"no norm {norm!r} to convert to: expected one of {', '.join(KINDS)}")
    if not exchange or isinstance(exchange, str) or not set(exchange) <= set(EXCHANGED):
        raise ValueError(f"exchange: expected a tuple of {', '.join(map(repr, EXCHANGED))}, got {exchange!r}")
    before = described(model)
    _check(model, norm, exchange)
    if not inplace:
        model = copying.deepcopy(model)
    if "layer" in exchange:
        model = exchange_layer_norms(model, norm)
    if "batch" in exchange:
        model = _exchange(model, {"bn": _to_batch_norm, "msn": _to_centring}.get(norm, _to_shift))
    for module in list(model.modules()):
        if isinstance(module, (*LAYERS, *STACKED)):
            _set_weight(module, spectral=norm in {"sn", "msn"})
    for line in changes(before, model) if say else ():
        say(line)  # type: ignore[misc]
    stop_precomputing(model)
    return precompute_before_forward(model)


def _check(model: nn.Module, norm: str, exchange: Sequence[str]) -> None:
    """Refuse a network that cannot be converted, before anything is changed."""
    if "layer" in exchange:
        check_layer_norms(model, norm)
    _check_weights(model)
    if "batch" in exchange:
        _check_norms(model, norm, needed="layer" not in exchange)


def _check_weights(model: nn.Module) -> None:
    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, LAYERS)]
    stacked = [(name, module) for name, module in model.named_modules() if isinstance(module, STACKED)]
    if not layers and not stacked:
        raise ValueError(f"{type(model).__name__} has nothing to normalise: no linear or convolution layer")
    for name, module in stacked:
        if parametrize.is_parametrized(module) and not is_divided(module):
            raise ValueError(f"{name}: another parametrization computes one of its tensors; remove that first")
    for name, layer in layers:
        if is_reparametrised(layer) and not _is_ours(layer):
            raise ValueError(f"{name}: another parametrization computes its weight; remove that first")
        if not is_reparametrised(layer) and not isinstance(layer.weight, nn.Parameter):
            raise ValueError(
                f"{name}: a hook computes its weight (torch.nn.utils.spectral_norm or weight_norm?); remove that first"
            )


def _check_norms(model: nn.Module, norm: str, *, needed: bool) -> None:
    places = [(name, module) for name, module in model.named_modules() if isinstance(module, NORM_MODULES)]
    if norm in {"bn", "msn"} and not places and needed:
        others = sum(isinstance(module, LAYER_NORMS) for module in model.modules())
        hint = f"; exchange=('layer',) exchanges its {others} layer norms" if others and norm == "msn" else ""
        raise ValueError(f"{type(model).__name__} has no batch norm that {norm!r} could replace{hint}")
    for name, module in places:
        if norm == "bn" and getattr(module, "channel_dim", 1) != 1:
            raise ValueError(f"{name}: expected channels in dimension 1, as batch norm has them, got {module}")
        if isinstance(module, BatchNorm) and (not module.track_running_stats or module.momentum is None):
            raise ValueError(f"{name}: expected a batch norm with running moments and a momentum, got {module}")
        if module.num_features == 0:
            raise ValueError(f"{name}: a lazy batch norm has no channels yet; run the model once first")
        if not (norm == "bn" and isinstance(module, BatchNorm)) and modules_behind(module) is None:
            raise ValueError(
                f"{name}: {type(module).__name__} has a forward of its own, and its work besides normalising would be "
                f"lost. Use {_torch_class(module).__name__} instead, and do the other work in a module behind it"
            )


def _is_ours(layer: nn.Module) -> bool:
    chain = layer.get_submodule("parametrizations.weight")
    return [type(link) for link in chain.children()] == [SpectralNorm]


def _set_weight(layer: nn.Module, *, spectral: bool) -> None:
    if isinstance(layer, STACKED):
        if spectral and not is_divided(layer):
            spectral_norm_of_matrices(layer)
        if not spectral and is_divided(layer):
            make_plain(layer, original_tensors(layer))
        return
    normalised = is_reparametrised(layer)
    if spectral and not normalised:
        spectral_norm(layer)
    if normalised and not spectral:
        deparametrize(layer, original_weight(layer))


def _exchange(model: nn.Module, exchange: Callable[[nn.Module, type[nn.Module]], nn.Module]) -> nn.Module:
    """Exchange every norm module and return the model, which may itself be a norm. A shared norm stays shared."""
    made: dict[nn.Module, nn.Module] = {}
    kind: type[nn.Module] = nn.BatchNorm1d
    for module in list(model.modules()):
        if isinstance(module, LAYERS):
            kind = type(batch_norm(1, module.weight.ndim - 2))
        if isinstance(module, NORM_MODULES):
            new = exchange(module, _batch_norm_class(module, kind))
            made[module] = _with_what_is_behind(new, module)
            new.training = made[module].training = module.training  # modules behind the norm keep their own mode
    for name, module in list(model.named_modules(remove_duplicate=False)):  # a shared module by each of its names
        if name and module in made:
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, made[module])
    return made.get(model, model)


def _batch_norm_class(module: nn.Module, guess: type[nn.Module]) -> type[nn.Module]:
    """Return the batch norm class that stood here or fits here. ``guess`` is the class for the layer before."""
    if isinstance(module, BatchNorm):
        kind = _torch_class(module)
        return guess if kind is BatchNorm else kind
    return getattr(module, "batch_norm_class", guess)


def _torch_class(module: nn.Module) -> type[nn.Module]:
    """Return the class of torch or of this project that a norm is an instance of."""
    return next(kind for kind in NORM_MODULES if isinstance(module, kind))


def _with_what_is_behind(new: nn.Module, old: nn.Module) -> nn.Module:
    """Return the new norm, followed by the modules that the old norm ran after its normalisation."""
    behind = None if new is old else modules_behind(old)
    return nn.Sequential(OrderedDict(normalisation=new, **behind)) if behind else new


def _shift_of(module: nn.Module) -> torch.Tensor | None:
    bias = module.bias
    return bias.detach().clone() if isinstance(bias, torch.Tensor) else None


def _place(new: nn.Module, old: nn.Module, kind: type[nn.Module]) -> nn.Module:
    """Return the new module with the old module's shift, device and type. It remembers the batch norm's class."""
    shift = _shift_of(old)
    reference = shift if shift is not None else next(old.buffers(), torch.empty(0))
    new = new.to(device=reference.device, dtype=reference.dtype)
    if shift is not None and isinstance(new.bias, nn.Parameter):
        new.bias.data = shift
    new.batch_norm_class = kind  # type: ignore[assignment]
    if issubclass(kind, nn.SyncBatchNorm):
        new.process_group = getattr(old, "process_group", None)  # type: ignore[assignment]
    return new


def _to_centring(module: nn.Module, kind: type[nn.Module]) -> nn.Module:
    if isinstance(module, MeanCentring):
        return module
    momentum = (module.momentum if isinstance(module, BatchNorm) else None) or 0.1
    channels = int(module.num_features)  # type: ignore[arg-type]
    sync, has_bias = issubclass(kind, nn.SyncBatchNorm), _shift_of(module) is not None
    dim = getattr(module, "channel_dim", 1)
    return _place(MeanCentring(channels, channel_dim=dim, bias=has_bias, momentum=momentum, sync=sync), module, kind)


def _to_shift(module: nn.Module, kind: type[nn.Module]) -> nn.Module:
    if _shift_of(module) is None:
        return nn.Identity()
    channels, dim = int(module.num_features), getattr(module, "channel_dim", 1)  # type: ignore[arg-type]
    return _place(ChannelBias(channels, channel_dim=dim, inplace=False), module, kind)


def _to_batch_norm(module: nn.Module, kind: type[nn.Module]) -> nn.Module:
    if isinstance(module, BatchNorm):
        return module
    return _place(kind(int(module.num_features)), module, kind)  # type: ignore[arg-type]
