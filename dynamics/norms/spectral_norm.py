"""Spectral normalisation of a weight: W / sigma(W), with the gradient through sigma (Eq. 2, 8, 9)."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from dynamics.norms.layers import output_dimension, unfold_weight
from dynamics.norms.norm import Norm
from dynamics.norms.power_iteration import EPS, iterate, multiply


class _Divide(torch.autograd.Function):
    """``W -> W / sigma`` whose backward knows that sigma = u^T W v: ``(G - <G, W/sigma> u v^T) / sigma`` (Eq. 9).

    u and v come shaped to broadcast to W. Returns sigma too: a second derivative reaches W through it.
    """

    @staticmethod
    def forward(ctx: Any, W: Tensor, u: Tensor, v: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        sigma = sigma.clone()
        # Not W / sigma: that forgets the channels-last strides of a one-channel weight, and the network follows suit.
        W_hat = torch.div(W, sigma, out=torch.empty_like(W))
        ctx.save_for_backward(W_hat, u, v, sigma)
        return W_hat, sigma

    @staticmethod
    def backward(ctx: Any, G: Tensor | None, g_sigma: Tensor | None) -> tuple[Tensor | None, None, None, None]:
        W_hat, u, v, sigma = ctx.saved_tensors
        if G is None:
            return (None if g_sigma is None else u * g_sigma * v), None, None, None
        along = -(G * W_hat).sum() / sigma  # coefficient of u v^T
        if g_sigma is not None:
            along = along + g_sigma
        return torch.addcmul(G / sigma, u * along, v), None, None, None


class SpectralNorm(nn.Module):
    """Parametrization ``W -> W / sigma(W)``, sigma estimated by power iteration.

    A training forward makes ``n_power_iterations`` of ``u <- Wv / |Wv|``, ``v <- W^T u / |W^T u|``, after which
    sigma = u^T W v = |W^T u|: one product with W fewer than the textbook form. Evaluation leaves u and v alone and uses
    sigma = u^T W v. Numbers, buffers and their names are those of ``torch.nn.utils.parametrizations.spectral_norm``, so
    checkpoints go both ways. A weight whose sigma is below ``eps`` is divided by ``eps``: an all-zero weight stays zero
    where torch's own gives NaN.

    Args:
        weight: The weight, two or more dimensions.
        n_power_iterations: Power iterations a training forward, at least 1.
        dim: Dimension of the output channels, see :func:`output_dimension`.
        eps: Smallest norm divided by.

    Raises:
        ValueError: The weight is a vector, or ``n_power_iterations`` is below 1.

    Source: Miyato et al. 2018, algorithm 1; the paper's Eq. 2, 6, 8 and 9.
    """

    _u: Tensor
    _v: Tensor

    def __init__(self, weight: Tensor, *, n_power_iterations: int = 1, dim: int = 0, eps: float = EPS) -> None:
        super().__init__()
        if weight.ndim < 2:
            raise ValueError(f"spectral norm: expected a weight of two or more dimensions, got {tuple(weight.shape)}")
        if n_power_iterations < 1:
            raise ValueError(f"n_power_iterations: expected at least 1, got {n_power_iterations}")
        self.n_power_iterations, self.dim, self.eps = n_power_iterations, dim, eps
        matrix = unfold_weight(weight.detach(), dim=dim)
        rows, columns = matrix.shape
        # The random numbers are drawn as torch draws them: the same seed gives the same u and v.
        self.register_buffer("_u", F.normalize(matrix.new_empty(rows).normal_(), dim=0, eps=eps))
        self.register_buffer("_v", F.normalize(matrix.new_empty(columns).normal_(), dim=0, eps=eps))
        for _ in range(15):
            iterate(matrix, self._u, self._v, eps=eps)

    def forward(self, weight: Tensor) -> Tensor:
        """Return W / sigma(W), in the shape and memory format of the weight."""
        with torch.no_grad():
            matrix = unfold_weight(weight.detach(), dim=self.dim)
            if self.training:
                for _ in range(self.n_power_iterations):
                    sigma = iterate(matrix, self._u, self._v, eps=self.eps)
            else:
                sigma = torch.dot(self._u, multiply(matrix, self._v))
            # Clones: the backward of one forward must not see the u and v of the next (GAN: D(real) - D(fake)).
            u, v = self._broadcast(weight, self._u.clone(), self._v.clone())
        normalised, _ = cast(tuple[Tensor, Tensor], _Divide.apply(weight, u, v, sigma.clamp_min(self.eps)))
        return normalised

    def _broadcast(self, weight: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return u and v shaped so that ``u * v`` is ``u v^T`` in the shape of the weight."""
        rest = [size for d, size in enumerate(weight.shape) if d != self.dim]
        return u.view(-1, *(1 for _ in rest[self.dim :])), v.view(rest).unsqueeze(self.dim)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Return the weight to store when one is assigned: itself."""
        return weight

    def extra_repr(self) -> str:
        """Return the settings that ``repr`` shows."""
        return f"n_power_iterations={self.n_power_iterations}, dim={self.dim}, eps={self.eps}"


def spectral_norm(layer: nn.Module, *, n_power_iterations: int = 1, eps: float = EPS) -> nn.Module:
    """Divide a layer's weight by its spectral norm from now on, and return the layer.

    Raises:
        TypeError: The module is no linear or convolution layer.
    """
    dim = output_dimension(layer)
    weight = cast(Tensor, layer.weight)
    norm = SpectralNorm(weight, n_power_iterations=n_power_iterations, dim=dim, eps=eps)
    parametrize.register_parametrization(layer, "weight", norm)
    return layer


SPECTRAL_NORM = Norm("sn", source="Miyato et al. 2018; Eq. 2", weight=spectral_norm)
