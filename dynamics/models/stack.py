"""Modules one after the other, of which mean-centring and the activation behind it are taken in one go."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules import module as torch_module

from dynamics.models.activation import LeakyReLU, leaky_relu_gradient
from dynamics.norms.mean_centring import (
    MeanCentring,
    centred_gradient,
    channel_mean,
    channel_sum,
    channel_view,
    shift_of,
    values_a_channel,
)
from dynamics.norms.ownership import is_ours


class Stack(nn.Sequential):
    """An ``nn.Sequential`` that runs a :class:`MeanCentring` and the :class:`LeakyReLU` behind it as one function.

    The operations are those of the two modules in their order, so every number is too. Saved are two calls of modules,
    a node of the graph, and the question whether the gradient between the two may be overwritten: nobody else has it.
    Between two convolutions, which push all else out of the caches, that is a hundredth of a DenseNet's step. Where
    somebody's hooks wait for one of the modules, or torch.fx or a compiler looks on, both are called.
    """

    def forward(self, input: Any) -> Tensor:
        """Return what the last module returns."""
        centring: MeanCentring | None = None  # waits for the module behind it
        for module in self:
            if centring is not None:
                if type(module) is LeakyReLU and _may_be_one(centring, module, input):
                    input = _centre_and_activate(centring, module, input)
                else:
                    input = module(centring(input))
                centring = None
            elif type(module) is MeanCentring:
                centring = module
            else:
                input = module(input)
        return input if centring is None else centring(input)


def _may_be_one(centring: MeanCentring, activation: LeakyReLU, h: Tensor) -> bool:
    """Return whether one function does what the two modules would, and nobody waits for them."""
    if torch.compiler.is_compiling() or type(h) is not Tensor or h._is_view():  # two changes of a view are two nodes
        return False
    if not (centring.training and centring.inplace and h.requires_grad and torch.is_grad_enabled()) or centring.sync:
        return False
    return not (_any_global_hook() or _watched(centring) or _watched(activation))


# Private in torch. Should the name go, both modules are called: slower, never wrong.
_any_global_hook = getattr(torch_module, "_has_any_global_hook", lambda: True)


def _watched(module: nn.Module) -> bool:
    """Return whether this module has hooks, was compiled by itself, or was given another function for its forward."""
    hooks = module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    return bool(hooks) or module._compiled_call_impl is not None or "forward" in module.__dict__


def _centre_and_activate(centring: MeanCentring, activation: LeakyReLU, h: Tensor) -> Tensor:
    centring.check(h)
    settings = centring.running_mean, centring.momentum, activation.negative_slope
    return cast(Tensor, _CentreAndActivate.apply(h, centring.bias, *settings))


class _CentreAndActivate(torch.autograd.Function):
    """``LeakyReLU(h - E[h] + m)`` in place, and E[h] into the running mean."""

    @staticmethod
    def forward(  # noqa: PLR0917 - autograd passes arguments by position
        ctx: Any, h: Tensor, m: Tensor | None, running_mean: Tensor, momentum: float, slope: float
    ) -> Tensor:
        ctx.has_bias, ctx.count, ctx.slope = m is not None, values_a_channel(h), slope
        ctx.mark_dirty(h)
        h.add_(channel_view(shift_of(channel_mean(h), m, running_mean, momentum), like=h))
        F.leaky_relu_(h, slope)
        ctx.save_for_backward(h)
        return h

    @staticmethod
    def backward(ctx: Any, G: Tensor) -> tuple[Tensor | None, ...]:
        overwrite = is_ours(G)
        (output,) = ctx.saved_tensors
        G = leaky_relu_gradient(G, output, ctx.slope, overwrite=overwrite)
        total = channel_sum(G)
        # From here on G is ours: made just now, or overwritten already.
        centred = centred_gradient(G, total=total, factor=-1 / ctx.count, overwrite=True)
        return centred, total if ctx.has_bias else None, None, None, None
