"""Stretch of each layer along the gradients of the margin, backwards through the network."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dynamics.bounds.input_jacobian import lengths, margins
from dynamics.norms.eval_mode import evaluating
from dynamics.norms.weight_matrix import LAYERS


def layer_stretches(model: nn.Module, inputs: Tensor, labels: Tensor) -> dict[str, float]:
    """Return ``max |W^T d| / |d|`` of each layer, by the layer's name.

    d is the gradient of the margin with respect to the layer's output, and the maximum is over the inputs. A layer and
    its transpose have the same norm, so each value is at most the layer's operator norm. Layers are in the order of
    first use. A layer that no gradient reaches has 0; a layer with a NaN gradient has NaN.

    Args:
        model: Maps inputs to logits, two classes or more. Its layers are plain, see
            :func:`~dynamics.bounds.folded_network.folded`. Hooks and modes are not changed.
        inputs: ``(n, ...)``.
        labels: ``(n,)``.
    """
    names = {module: name for name, module in model.named_modules()}
    calls: list[tuple[nn.Module, Tensor, Tensor]] = []

    def keep(layer: nn.Module, given: tuple[Any, ...], output: Tensor) -> Tensor:
        calls.append((layer, given[0].detach(), output))
        return output.clone()  # a copy, because the next module may overwrite its input

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
    """Return ``|W^T d| / |d|`` for each input, 0 if d is 0: ``(n,)``."""
    leaf = given.clone().requires_grad_()
    with evaluating(layer), torch.enable_grad():
        output = layer(leaf)
    passed = torch.autograd.grad(output, leaf, d)[0]
    arriving = lengths(d)
    return torch.where(arriving == 0, 0.0, lengths(passed) / arriving)
