"""Spectral normalisation of a weight: W / sigma(W), with the gradient through sigma (Eq. 2, 8, 9)."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from dynamics.norms.layers import output_dimension, unfold_weight
from dynamics.norms.norm import Norm
from dynamics.norms.ownership import is_ours
from dynamics.norms.power_iteration import EPS, iterate, multiply


class _Divide(torch.autograd.Function):
    """``W -> W / sigma`` whose backward knows that sigma = u^T W v: ``(G - <G, W/sigma> u v^T) / sigma`` (Eq. 9).

    u and v come shaped so that their product has the shape of W. Returns sigma too, at least ``eps``: a second
    derivative reaches W through it.
    """

    @staticmethod
    def forward(  # noqa: PLR0917 - autograd passes arguments by position
        ctx: Any, W: Tensor, u: Tensor, v: Tensor, sigma: Tensor, eps: float
    ) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        sigma = sigma.clamp_min(eps)
        # Not W / sigma: that forgets the channels-last strides of a one-channel weight, and the network follows suit.
        W_hat = torch.div(W, sigma, out=torch.empty_like(W))
        ctx.save_for_backward(W_hat, u, v, sigma)
        return W_hat, sigma

    @staticmethod
    def backward(ctx: Any, G: Tensor | None, g_sigma: Tensor | None) -> tuple[Tensor | None, ...]:
        overwrite = G is not None and is_ours(G)
        W_hat, u, v, sigma = ctx.saved_tensors
        grad = None if g_sigma is None else u * g_sigma * v
        if G is not None:
            along = u * inner_product(G, W_hat)
            # One formula in both ways: whether a hook looks on must not change a bit.
            across = G.addcmul_(along, v, value=-1) if overwrite else torch.addcmul(G, along, v, value=-1)
            slope = across.div_(sigma) if overwrite else across / sigma
            grad = slope if grad is None else grad + slope
        return grad, None, None, None, None


def inner_product(G: Tensor, W: Tensor) -> Tensor:
    """Return the sum of products; without a copy if it needs no derivative and both are laid out alike."""
    if torch.compiler.is_compiling() or torch.is_grad_enabled() or G.stride() != W.stride():
        return (G * W).sum()
    flat = (W.numel(),), (1,)  # a weight fills its storage, so the elements of both stand in the same order
    return torch.dot(G.as_strided(*flat), W.as_strided(*flat))


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
        self.ready: Tensor | None = None  # see dynamics.norms.sweep
        matrix = unfold_weight(weight.detach(), dim=dim)
        rows, columns = matrix.shape
        # The random numbers are drawn as torch draws them: the same seed gives the same u and v.
        self.register_buffer("_u", F.normalize(matrix.new_empty(rows).normal_(), dim=0, eps=eps))
        self.register_buffer("_v", F.normalize(matrix.new_empty(columns).normal_(), dim=0, eps=eps))
        for _ in range(15):
            iterate(matrix, self._u, self._v)

    def forward(self, weight: Tensor) -> Tensor:
        """Return W / sigma(W), in the shape and memory format of the weight."""
        if self.training and self.ready is not None:
            ready, self.ready = self.ready, None
            return ready
        return self._normalise(weight)

    def prepare(self, weight: Tensor) -> None:
        """Compute the normalised weight now, for the next training forward to take."""
        self.ready = self._normalise(weight)

    def _normalise(self, weight: Tensor) -> Tensor:
        with torch.no_grad():
            sigma = self._sigma(weight)
            # Copies: the backward of one forward must not see the u and v of the next (GAN: D(real) - D(fake)).
            u, v = self._like(weight)
        normalised, _ = cast(tuple[Tensor, Tensor], _Divide.apply(weight, u, v, sigma, self.eps))
        return normalised

    def _sigma(self, weight: Tensor) -> Tensor:
        """Return sigma, in training after moving u and v."""
        if self.dim == 0 and not weight.is_contiguous():
            return self._sigma_channels_last(weight)
        matrix = unfold_weight(weight, dim=self.dim)
        if not self.training:
            return torch.dot(self._u, multiply(matrix, self._v))
        for _ in range(self.n_power_iterations):
            sigma = iterate(matrix, self._u, self._v)
        return sigma

    def _sigma_channels_last(self, weight: Tensor) -> Tensor:
        """Return the same from a view: v is put in the order of the weight's memory, not the weight in that of v."""
        matrix = weight.movedim(1, -1).flatten(1)  # (out, kh*kw*in)
        v = self._v.view(weight.shape[1:]).movedim(0, -1).flatten()
        if not self.training:
            return torch.dot(self._u, multiply(matrix, v))
        for _ in range(self.n_power_iterations):
            sigma = iterate(matrix, self._u, v)
        kernel_first = (*weight.shape[2:], weight.shape[1])
        self._v.copy_(v.view(kernel_first).movedim(-1, 0).flatten())
        return sigma

    def _like(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return copies of u and v, shaped and laid out so that ``u * v`` is ``u v^T`` as the weight is stored."""
        before, after = weight.shape[: self.dim], weight.shape[self.dim + 1 :]
        u = self._u.clone().view(-1, *(1 for _ in after))
        v = self._v.view(*before, 1, *after)
        channels_last = weight.ndim == 4 and not weight.is_contiguous()
        return u, v.clone(memory_format=torch.channels_last if channels_last else torch.contiguous_format)

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
