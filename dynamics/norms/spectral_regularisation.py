"""Spectral norm regularisation: a loss term that grows with each layer's spectral norm."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from dynamics.norms.functional_transforms import needs_plain_operations, write
from dynamics.norms.spectral.plain_division import iterate_plainly
from dynamics.norms.spectral.power_iteration import iterate
from dynamics.norms.torch_internals import in_backward
from dynamics.norms.weight_matrix import LAYERS, output_dimension, unfold_weight


class SpectralRegularisation(nn.Module):
    """``strength / 2 * sum over layers of sigma(W)^2``, to be added to the loss.

    Each call makes one power iteration for each layer. The gradient with respect to W is ``strength sigma u v^T``. The
    vectors u and v are buffers, so ``to`` moves them to a device and ``state_dict`` saves them.

    Args:
        model: The model whose linear and convolution layers are regularised.
        strength: lambda of the paper, not negative.

    Raises:
        ValueError: The model has no such layer, a layer's weight is already reparametrised, or ``strength`` is
            negative.

    Source: Yoshida and Miyato 2017, Eq. 5 and algorithm 1.
    """

    def __init__(self, model: nn.Module, *, strength: float) -> None:
        super().__init__()
        if strength < 0:
            raise ValueError(f"strength: expected 0 or more, got {strength}")
        named = [(name, module) for name, module in model.named_modules() if isinstance(module, LAYERS)]
        if not named:
            raise ValueError(f"{type(model).__name__} has no linear or convolution layer to regularise")
        for name, layer in named:
            if parametrize.is_parametrized(layer, "weight"):
                raise ValueError(f"{name}: its weight is reparametrised already; regularise a model with norm 'none'")
        self.strength = strength
        # A plain list, so that the layers' parameters belong only to the model.
        self._layers = [layer for _, layer in named]
        for number, matrix in enumerate(self._matrices()):
            rows, columns = matrix.shape
            self.register_buffer(f"u{number}", F.normalize(matrix.new_empty(rows).normal_(), dim=0))
            self.register_buffer(f"v{number}", F.normalize(matrix.new_empty(columns).normal_(), dim=0))

    def forward(self) -> Tensor:
        """Return the loss term, a scalar."""
        squares = []
        for number, matrix in enumerate(self._matrices()):
            u, v = self.get_buffer(f"u{number}"), self.get_buffer(f"v{number}")
            if not in_backward():  # activation checkpointing repeats the forward in the backward
                self._iterate(matrix.detach(), u, v)
            squares.append((u.clone() @ matrix @ v.clone()).square())
        return self.strength / 2 * torch.stack(squares).sum()

    @staticmethod
    @torch.no_grad()
    def _iterate(matrix: Tensor, u: Tensor, v: Tensor) -> None:
        if needs_plain_operations(matrix):
            for buffer, vector in zip((u, v), iterate_plainly(matrix, u, v, 1), strict=True):
                write(buffer, vector)
        else:
            iterate(matrix, u, v)

    def _matrices(self) -> list[Tensor]:
        weights = [(layer.weight, output_dimension(layer)) for layer in self._layers]
        return [unfold_weight(weight, dim=dim) for weight, dim in weights]
