"""Stretch of each layer along the gradients of the margin, backwards through the network."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dynamics.bounds.input_jacobian import lengths, margins
from dynamics.norms.eval_mode import evaluating
from dynamics.norms.weight_matrix import LAYERS


def layer_stretches(model: nn.Module, inputs: Tensor, labels: Tensor) -> dict[str, float]:
    """Return ``max |W^T d| / |d|`` of each layer, d the margin's gradient by the layer's output, by the layer's name.

    The maximum is over the inputs. A layer and its transpose have the same norm, so each value is at most the layer's
    operator norm. Layers in order of first use. 0 for a layer that no gradient reaches, NaN if a gradient is.

    Args:
        model: Inputs to logits, two classes or more, of plain layers: see
            :func:`~dynamics.bounds.folded_network.folded`. Hooks and modes are left as they were.
        inputs: ``(n, ...)``.
        labels: ``(n,)``.
    """
    names = {module: name for name, module in model.named_modules()}
    calls: list[tuple[nn.Module, Tensor, Tensor]] = []

    def keep(layer: nn.Module, given: tuple[Any, ...], output: Tensor) -> Tensor:
        calls.append((layer, given[0].detach(), output))
        return output.clone()  # what writes into its input must leave the output as the layer made it

    hooks = [module.register_forward_hook(keep) for module in names if isinstance(module, LAYERS)]
    try:
        with evaluating(model), torch.enable_grad():
            total = margins(model(inputs.detach().clone().requires_grad_().clone()), labels).sum()
    finally:
        for hook in hooks:
            hook.remove()
    arriving = torch.autograd.grad(total, [output for _, _, output in calls], allow_unused=True)
    found: dict[str, Tensor] = {}
    for (layer, given, _), d in zip(calls, arriving, strict=True):
        stretch = total.new_zeros((), dtype=torch.float64) if d is None else _stretches(layer, given, d).max()
        found[names[layer]] = torch.maximum(stretch, found.get(names[layer], stretch))  # of all calls; keeps a NaN
    return {name: float(stretch) for name, stretch in found.items()}


def _stretches(layer: nn.Module, given: Tensor, d: Tensor) -> Tensor:
    """Return ``|W^T d| / |d|`` of each input, 0 where d is: ``(n,)``."""
    leaf = given.clone().requires_grad_()
    with evaluating(layer), torch.enable_grad():
        output = layer(leaf)
    passed = torch.autograd.grad(output, leaf, d)[0]
    arriving = lengths(d)
    return torch.where(arriving == 0, 0.0, lengths(passed) / arriving)
