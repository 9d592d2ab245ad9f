"""Replacement of a reparametrised weight by a plain one."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from dynamics.norms.eval_mode import evaluating
from dynamics.norms.spectral.older_checkpoints import rename_older_tensors
from dynamics.norms.torch_internals import remove_hooks


def is_reparametrised(layer: nn.Module) -> bool:
    """Return whether a parametrization computes the layer's weight. No weight is read, so no power iteration runs."""
    return parametrize.is_parametrized(layer, "weight")


@torch.no_grad()
def original_weight(layer: nn.Module) -> Tensor:
    """Return the stored weight of a layer whose weight is computed from a single stored tensor."""
    return layer.get_parameter("parametrizations.weight.original").detach()


@torch.no_grad()
def quiet_weight(layer: nn.Module) -> Tensor:
    """Return a copy of the layer's weight in evaluation. The layer's mode and buffers are not changed."""
    with evaluating(layer):
        weight = layer.weight
        assert isinstance(weight, Tensor)
        return weight.detach().clone(memory_format=torch.preserve_format)


def deparametrize(layer: nn.Module, weight: Tensor) -> None:
    """Replace the parametrization of a layer's weight by a plain weight.

    ``parametrize.remove_parametrizations`` is not used, because it deletes a property of the layer's class. A model and
    its deep copy share this class, so folding the copy would remove the weights of the model.

    Raises:
        ValueError: Another tensor of the layer is reparametrised too.
    """
    make_plain(layer, {"weight": weight})


def make_plain(module: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Replace all parametrizations of a module by plain parameters; see :func:`deparametrize`.

    Raises:
        ValueError: The reparametrised tensors are not exactly ``tensors``.
    """
    names = list(module.parametrizations)  # type: ignore[arg-type]
    if names != list(tensors):
        expected = "its weight" if list(tensors) == ["weight"] else ", ".join(tensors)
        raise ValueError(f"{type(module).__name__}: expected only {expected} to be reparametrised, got {names}")
    remove_hooks(module, lambda hook: hook is rename_older_tensors)
    del module.parametrizations
    module.__class__ = type(module).__bases__[0]  # the class that torch derived the parametrised one from
    others = dict(module.named_parameters(recurse=False))
    for name in others:
        delattr(module, name)
    # The plain tensors come first, as in the state_dict of a plain module.
    for name, parameter in {**{name: nn.Parameter(t.detach()) for name, t in tensors.items()}, **others}.items():
        module.register_parameter(name, parameter)


@torch.no_grad()
def original_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return the stored tensor of each parametrization of a module. Each parametrization has a single tensor."""
    names = list(module.parametrizations)  # type: ignore[arg-type]
    return {name: module.get_parameter(f"parametrizations.{name}.original").detach() for name in names}


@torch.no_grad()
def quiet_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return a copy of each reparametrised tensor in evaluation. Modes and buffers are not changed."""
    with evaluating(module):
        return {name: getattr(module, name).detach().clone() for name in module.parametrizations}  # type: ignore[union-attr]
