"""Replacement of a reparametrised weight by a plain one."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from dynamics.norms.eval_mode import evaluating
from dynamics.norms.spectral.older_checkpoints import rename_older_tensors
from dynamics.norms.torch_internals import remove_hooks


def is_reparametrised(layer: nn.Module) -> bool:
    """Return whether something computes the layer's weight. Reads no weight, so it runs no power iteration."""
    return parametrize.is_parametrized(layer, "weight")


@torch.no_grad()
def original_weight(layer: nn.Module) -> Tensor:
    """Return the stored weight of a layer whose weight one parametrization of one tensor computes."""
    return layer.get_parameter("parametrizations.weight.original").detach()


@torch.no_grad()
def quiet_weight(layer: nn.Module) -> Tensor:
    """Return a copy of the weight that the layer multiplies by in evaluation; leave its mode and buffers alone."""
    with evaluating(layer):
        weight = layer.weight
        assert isinstance(weight, Tensor)
        return weight.detach().clone(memory_format=torch.preserve_format)


def deparametrize(layer: nn.Module, weight: Tensor) -> None:
    """Give a layer a plain weight in the place of its parametrization.

    Not ``parametrize.remove_parametrizations``: that deletes a property of the layer's class, which deep copies share,
    so the model that a copy was taken of loses its weights.

    Raises:
        ValueError: Something else than the weight is reparametrised too.
    """
    names = list(layer.parametrizations)  # type: ignore[arg-type]
    if names != ["weight"]:
        raise ValueError(f"{type(layer).__name__}: expected only its weight to be reparametrised, got {names}")
    remove_hooks(layer, lambda hook: hook is rename_older_tensors)
    del layer.parametrizations
    layer.__class__ = type(layer).__bases__[0]  # the class that torch derived the parametrised one from
    others = dict(layer.named_parameters(recurse=False))
    for name in others:
        delattr(layer, name)
    layer.weight = nn.Parameter(weight.detach())  # first again, as state_dict has it
    for name, parameter in others.items():
        layer.register_parameter(name, parameter)
