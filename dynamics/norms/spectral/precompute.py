"""All spectrally normalised weights of a model computed together, before its forward: the same numbers, sooner."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList

from dynamics.norms.spectral.spectral_norm import SpectralNorm, normalise

TOGETHER = 16  # layers whose gradients come at once; DDP sends those of later layers while the backward goes on


def precompute_before_forward(model: nn.Module) -> nn.Module:
    """Let every training forward of the model begin with the power iterations of all its layers; return the model.

    A layer's twenty small operations cost three to four times as much between two convolutions, which push their code
    and data out of the caches, as for all layers together. Each layer's first use in a forward takes the weight that is
    ready; a second use makes a power iteration of its own, as ever. Calling it twice changes nothing, nor does calling
    it on a model without spectral norms.
    """
    attached = any(
        isinstance(getattr(hook, "__self__", None), _Precompute) for hook in model._forward_pre_hooks.values()
    )
    if not attached and any(isinstance(module, SpectralNorm) for module in model.modules()):
        hooks = _Precompute()
        model.register_forward_pre_hook(hooks.prepare)
        model.register_forward_hook(hooks.forget, always_call=True)
    return model


class _Precompute:
    """The two hooks of one model."""

    def __init__(self) -> None:
        self._prepared: list[SpectralNorm] = []
        self._walk: _Walk | None = None

    def prepare(self, model: nn.Module, _inputs: tuple[Any, ...]) -> None:
        if torch.compiler.is_compiling():  # a compiler orders the work itself
            return
        walk = self._walk  # replicas of a model share this object, each in a thread of its own
        if walk is None or not walk.holds(model):
            walk = _Walk(model)
            self._walk = None if getattr(model, "_is_replica", False) else walk
        for _, pairs in groupby(_norms(walk.chains), key=lambda pair: (pair[0].n_power_iterations, pair[0].eps)):
            alike = list(pairs)
            for first in range(0, len(alike), TOGETHER):
                norms, weights = zip(*alike[first : first + TOGETHER], strict=True)
                for norm, weight in zip(norms, normalise(norms, weights), strict=True):
                    norm.precomputed.put(weight)
                self._prepared += norms

    def forget(self, _model: nn.Module, _inputs: tuple[Any, ...], _output: Any) -> None:
        # What a forward did not use must not reach the next one, nor keep a graph alive.
        if not torch.compiler.is_compiling():
            for norm in self._prepared:
                norm.precomputed.forget()
            self._prepared.clear()


def _norms(chains: Sequence[ParametrizationList]) -> list[tuple[SpectralNorm, Tensor]]:
    """Return the norms in training that alone compute a weight, and what they compute it from.

    Without those whose weight is still in shards (FSDP2 gathers it when the layer's own forward begins).
    """
    pairs = []
    for chain in chains:
        norm, weight = chain._modules.get("0"), chain._parameters.get("original")
        if isinstance(norm, SpectralNorm) and norm.training and weight is not None and len(chain._modules) == 1:
            pairs.append((norm, weight))
    return [(norm, weight) for norm, weight in pairs if not hasattr(weight, "full_tensor")]


class _Walk:
    """What a walk through a model has found; it holds until a module comes or goes, which is sooner seen than walked.

    Attributes:
        chains: What computes the model's weights, in the order of ``modules()``, which takes six times as long.
    """

    def __init__(self, model: nn.Module) -> None:
        self.chains: list[ParametrizationList] = []
        # The root's children, not the root: it would hold itself through its hooks.
        self._root, self._children = model._modules, tuple(model._modules.values())
        self._inner: list[tuple[nn.Module, dict[str, nn.Module | None], tuple[nn.Module | None, ...]]] = []
        self._leaves: list[nn.Module] = []
        seen, waiting = {id(model)}, [model]
        while waiting:
            module = waiting.pop()
            if isinstance(module, ParametrizationList):
                self.chains.append(module)
                continue
            children = tuple(module._modules.values())
            if module is not model:
                self._inner.append((module, module._modules, children))
            for child in reversed(children):
                if child is None or id(child) in seen:
                    continue
                seen.add(id(child))
                if child._modules:  # a chain has modules of its own
                    waiting.append(child)
                else:
                    self._leaves.append(child)

    def holds(self, model: nn.Module) -> bool:
        """Return whether a walk would find the same now."""
        if model._modules is not self._root or tuple(self._root.values()) != self._children:
            return False
        if any(leaf._modules for leaf in self._leaves):
            return False
        return all(
            module._modules is modules and tuple(modules.values()) == children
            for module, modules, children in self._inner
        )

    def __reduce__(self) -> tuple[type, tuple[()]]:
        """Copy and pickle as None: a copy of the model is walked through anew."""
        return type(None), ()
