"""All spectrally normalised weights of a model computed in one go, before its forward: the same numbers, sooner."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList

from dynamics.norms.spectral_norm import SpectralNorm, normalise

TOGETHER = 16  # layers whose gradients come at once; DDP sends those of later layers while the backward goes on


def sweep_before_forward(model: nn.Module) -> nn.Module:
    """Let every training forward of the model begin with the power iterations of all its layers; return the model.

    A layer's twenty small operations cost three to four times as much between two convolutions, which push their code
    and data out of the caches, as for all layers together. Each layer's first use in a forward takes the weight that is
    ready; a second use makes a power iteration of its own, as ever. Calling it twice changes nothing, nor does calling
    it on a model without spectral norms.
    """
    swept = any(isinstance(getattr(hook, "__self__", None), _Sweep) for hook in model._forward_pre_hooks.values())
    if not swept and any(isinstance(module, SpectralNorm) for module in model.modules()):
        sweep = _Sweep()
        model.register_forward_pre_hook(sweep.prepare)
        model.register_forward_hook(sweep.forget, always_call=True)
    return model


class _Sweep:
    """The two hooks of one model."""

    def __init__(self) -> None:
        self._prepared: list[SpectralNorm] = []

    def prepare(self, model: nn.Module, _inputs: tuple[Any, ...]) -> None:
        if torch.compiler.is_compiling():  # a compiler orders the work itself
            return
        for _, pairs in groupby(_norms(model), key=lambda pair: (pair[0].n_power_iterations, pair[0].eps)):
            alike = list(pairs)
            for first in range(0, len(alike), TOGETHER):
                norms, weights = zip(*alike[first : first + TOGETHER], strict=True)
                for norm, weight in zip(norms, normalise(norms, weights), strict=True):
                    norm.ready[:] = [weight]
                self._prepared += norms

    def forget(self, _model: nn.Module, _inputs: tuple[Any, ...], _output: Any) -> None:
        # What a forward did not use must not reach the next one, nor keep a graph alive.
        if not torch.compiler.is_compiling():
            for norm in self._prepared:
                norm.ready.clear()
            self._prepared.clear()


def _norms(model: nn.Module) -> list[tuple[SpectralNorm, Tensor]]:
    """Return the norms in training that alone compute a weight, and what they compute it from.

    Without those whose weight is still in shards (FSDP2 gathers it when the layer's own forward begins).
    """
    pairs = []
    for chain in _chains(model):
        norm, weight = chain._modules.get("0"), chain._parameters.get("original")
        if isinstance(norm, SpectralNorm) and norm.training and weight is not None and len(chain._modules) == 1:
            pairs.append((norm, weight))
    return [(norm, weight) for norm, weight in pairs if not hasattr(weight, "full_tensor")]


def _chains(model: nn.Module) -> list[ParametrizationList]:
    """Return what computes the weights of a model, in the order of ``modules()``, which takes six times as long."""
    found, seen, waiting = [], {id(model)}, [model]
    while waiting:
        module = waiting.pop()
        if isinstance(module, ParametrizationList):
            found.append(module)
            continue
        for child in reversed(module._modules.values()):
            if child is not None and child._modules and id(child) not in seen:  # a chain has modules of its own
                seen.add(id(child))
                waiting.append(child)
    return found
