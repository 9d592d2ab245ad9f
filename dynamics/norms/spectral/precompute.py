"""All spectrally normalised weights of a model computed together, before its forward.

The numbers equal those of layers that compute their weights one by one. Between two convolutions a layer's twenty small
operations would take three to four times as long, because convolutions push their code and data out of the caches.
Gain: on the CPU an SN step takes 1.02 to 1.03 of the time of a step without a norm; with torch's own spectral norm
1.05 to 1.06. ``python tests/benchmarks/norm_speed.py`` measures it.
"""

from __future__ import annotations

from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList

from dynamics.norms.functional_transforms import needs_plain_operations
from dynamics.norms.spectral.spectral_norm import SpectralNorm, divide_by_sigma
from dynamics.norms.torch_internals import forward_pre_hooks, remove_hooks

TOGETHER = 16  # layers in a group, whose gradients are ready at the same time; DDP sends them before the backward ends


def precompute_before_forward(model: nn.Module) -> nn.Module:
    """Let every training forward of the model start with the power iterations of all its layers; return the model.

    The first use of a layer in a forward takes the precomputed weight. A second use makes another power iteration. A
    second call of this function changes nothing. A model without spectral norms is not changed.
    """
    attached = any(isinstance(getattr(hook, "__self__", None), _Precompute) for hook in forward_pre_hooks(model))
    if not attached and any(isinstance(module, SpectralNorm) for module in model.modules()):
        hooks = _Precompute()
        model.register_forward_pre_hook(hooks.prepare)
        model.register_forward_hook(hooks.forget, always_call=True)
    return model


def stop_precomputing(model: nn.Module) -> None:
    """Undo :func:`precompute_before_forward`: every layer computes its weight when the weight is read."""
    for module in model.modules():
        remove_hooks(module, lambda hook: isinstance(getattr(hook, "__self__", None), _Precompute))


class _Precompute:
    """The two hooks of one model."""

    def __init__(self) -> None:
        self._prepared: list[SpectralNorm] = []

    def prepare(self, model: nn.Module, _inputs: tuple[Any, ...]) -> None:
        if torch.compiler.is_compiling() or needs_plain_operations():  # a compiler orders operations itself
            return
        for _, pairs in groupby(_norms(model), key=lambda pair: (pair[0].n_power_iterations, pair[0].eps)):
            alike = list(pairs)
            for first in range(0, len(alike), TOGETHER):
                norms, weights = zip(*alike[first : first + TOGETHER], strict=True)
                for norm, weight in zip(norms, divide_by_sigma(norms, weights), strict=True):
                    norm.precomputed.put(weight)
                self._prepared += norms

    def forget(self, _model: nn.Module, _inputs: tuple[Any, ...], _output: Any) -> None:
        # A weight that this forward did not use must not reach the next forward, nor keep its graph in memory.
        if not torch.compiler.is_compiling():
            for norm in self._prepared:
                norm.precomputed.forget()
            self._prepared.clear()


def _norms(model: nn.Module) -> list[tuple[SpectralNorm, Tensor]]:
    """Return the norms in training that are the only parametrization of a weight, each with its weight.

    Sharded weights are left out, because FSDP2 gathers them only when the layer's own forward starts. Weights that are
    divided by plain operations are left out too.
    """
    pairs = []
    for chain in model.modules():
        if isinstance(chain, ParametrizationList) and len(chain) == 1:
            norm, weight = chain[0], getattr(chain, "original", None)
            if isinstance(norm, SpectralNorm) and norm.training and weight is not None:
                pairs.append((norm, weight))
    return [
        (norm, weight)
        for norm, weight in pairs
        if not hasattr(weight, "full_tensor") and not norm.divides_plainly(weight)
    ]
