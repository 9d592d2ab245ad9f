"""Spectral normalisation of modules that keep several matrices in one tensor: attention and recurrent cells."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from dynamics.norms.spectral.power_iteration import EPS
from dynamics.norms.spectral.spectral_norm import SpectralNorm

STACKED = (nn.MultiheadAttention, nn.LSTMCell, nn.GRUCell, nn.RNNCell)
"""Modules with stacked matrices. ``nn.LSTM``, ``nn.GRU`` and ``nn.RNN`` are left out: they pass their tensors to cuDNN,
and a norm may not replace these."""
_GATES = {nn.LSTMCell: 4, nn.GRUCell: 3, nn.RNNCell: 1}
_SPLIT = ("q_proj_weight", "k_proj_weight", "v_proj_weight")  # if keys or values differ in width from queries


def stacked_weights(module: nn.Module) -> dict[str, int]:
    """Return the tensors of a module that multiply its inputs, and the number of matrices in each.

    | module | tensor | matrices |
    |---|---|---|
    | MultiheadAttention | ``in_proj_weight`` | 3: queries, keys, values |
    | with ``kdim`` or ``vdim`` | ``q_proj_weight``, ``k_proj_weight``, ``v_proj_weight`` | 1 |
    | LSTMCell | ``weight_ih``, ``weight_hh`` | 4: input, forget, cell, output gate |
    | GRUCell | the same | 3: reset, update, new gate |
    | RNNCell | the same | 1 |

    The output projection of attention is a linear layer of its own.

    Raises:
        TypeError: The module is none of these.
    """
    if isinstance(module, nn.MultiheadAttention):
        whole = module.kdim == module.vdim == module.embed_dim
        return {"in_proj_weight": 3} if whole else dict.fromkeys(_SPLIT, 1)
    gates = next((count for kind, count in _GATES.items() if isinstance(module, kind)), None)
    if gates is None:
        names = ", ".join(kind.__name__ for kind in STACKED)
        raise TypeError(f"{type(module).__name__} has no stacked matrices that we know: expected one of {names}")
    return {"weight_ih": gates, "weight_hh": gates}


class StackedSpectralNorm(nn.Module):
    """Parametrization ``[W_1; W_2; ...] -> [W_1 / sigma(W_1); W_2 / sigma(W_2); ...]``, each with its own sigma.

    :class:`~dynamics.norms.spectral.spectral_norm.SpectralNorm` divides each matrix: queries, keys and values of
    attention, or the gates of a recurrent cell. One sigma for all matrices together would belong to a different linear
    map.

    Args:
        weight: The matrices on top of each other, ``(matrices * rows, columns)``.
        matrices: Number of matrices.
        n_power_iterations: Power iterations a training forward, at least 1.
        eps: Smallest sigma divided by.

    Raises:
        ValueError: The rows cannot be shared out evenly, or ``n_power_iterations`` is below 1.
    """

    def __init__(self, weight: Tensor, *, matrices: int, n_power_iterations: int = 1, eps: float = EPS) -> None:
        super().__init__()
        if matrices < 1 or weight.shape[0] % matrices:
            raise ValueError(f"expected rows of {matrices} matrices of one size, got a weight {tuple(weight.shape)}")
        parts = weight.detach().chunk(matrices)
        self.norms = nn.ModuleList(SpectralNorm(W, n_power_iterations=n_power_iterations, eps=eps) for W in parts)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the divided matrices, stacked as in ``weight``."""
        parts = weight.chunk(len(self.norms))
        return torch.cat([norm(W) for norm, W in zip(self.norms, parts, strict=True)])

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Return the weight to store when a weight is assigned: the assigned weight itself."""
        return weight


def spectral_norm_of_matrices(module: nn.Module, *, n_power_iterations: int = 1, eps: float = EPS) -> nn.Module:
    """Divide each matrix of :func:`stacked_weights` by its own spectral norm from now on, and return the module.

    Each read of a tensor in training makes power iterations. A recurrent cell reads its weights at each time step.
    torch's attention reads them up to four times a forward, also to check their type and device.

    Args:
        module: Attention or a recurrent cell.
        n_power_iterations: Power iterations each time that a training forward reads the weight, at least 1.
        eps: Smallest sigma divided by.

    Raises:
        TypeError: The module is none of these.
    """
    for name, matrices in stacked_weights(module).items():
        weight = cast(Tensor, getattr(module, name))
        norm = StackedSpectralNorm(weight, matrices=matrices, n_power_iterations=n_power_iterations, eps=eps)
        parametrize.register_parametrization(module, name, norm)
    return module


def is_divided(module: nn.Module) -> bool:
    """Return whether :func:`spectral_norm_of_matrices` computes all stacked tensors of a module; no tensor is read."""
    found = getattr(module, "parametrizations", {})
    chains = {name: [type(link) for link in chain] for name, chain in found.items()}
    return chains == {name: [StackedSpectralNorm] for name in stacked_weights(module)}
