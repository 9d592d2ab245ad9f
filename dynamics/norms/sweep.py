"""All spectrally normalised weights of a model computed in one go, before its forward: the same numbers, sooner."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.utils.parametrize import ParametrizationList

from dynamics.norms.spectral_norm import SpectralNorm


def sweep_before_forward(model: nn.Module) -> nn.Module:
    """Let every training forward of the model begin with the power iterations of all its layers; return the model.

    A layer's twenty small operations cost three to four times as much between two convolutions, which push their code
    and data out of the caches, as one layer after the other. Each layer's first use in a forward takes the weight that
    is ready; a second use makes a power iteration of its own, as ever. Calling it twice changes nothing.
    """
    if _prepare not in model._forward_pre_hooks.values():
        model.register_forward_pre_hook(_prepare)
        model.register_forward_hook(_forget, always_call=True)
    return model


def _norms(model: nn.Module) -> list[tuple[SpectralNorm, ParametrizationList]]:
    lists = [module for module in model.modules() if isinstance(module, ParametrizationList)]
    return [(chain[0], chain) for chain in lists if isinstance(chain[0], SpectralNorm) and len(chain) == 1]


def _prepare(model: nn.Module, _inputs: tuple[Any, ...]) -> None:
    if torch.compiler.is_compiling():  # a compiler orders the work itself
        return
    for norm, chain in _norms(model):
        if norm.training:
            norm.prepare(chain.original)


def _forget(model: nn.Module, _inputs: tuple[Any, ...], _output: Any) -> None:
    # What a forward did not use must not reach the next one, nor keep a graph alive.
    if not torch.compiler.is_compiling():
        for norm, _ in _norms(model):
            norm.ready = None
