"""W / sigma(W) by plain operations, for transforms of torch, complex weights and weights in half precision."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from dynamics.norms.spectral.power_iteration import MEMORY
from dynamics.norms.weight_matrix import unfold_weight

LARGEST_GRADIENT = 64  # the largest incoming gradient that keeps a zero weight's gradient finite in the weight's dtype


def divide_plainly(weight: Tensor, u: Tensor, v: Tensor, *, dim: int, eps: float) -> Tensor:
    """Return ``W / max(sigma, eps)`` with sigma = Re(u^H W v), in the weight's shape and type.

    The result is differentiable in W by torch's own rules. Weights in half precision are divided in float32. In float16
    eps is at least 1e-3: the gradient of a zero weight is G / eps, and above 65504 it would be infinite.

    Args:
        weight: The weight, two or more dimensions.
        u: Left singular vector, ``(rows,)``, in the weight's type or, for half precision, float32.
        v: Right singular vector, ``(columns,)``.
        dim: The weight's dimension of output channels, the rows.
        eps: Smallest sigma divided by.
    """
    with _without_autocast(weight):
        W = widened(weight)
        stretched = unfold_weight(W, dim=dim) @ v.to(W.dtype)
        sigma = (u.to(W.dtype).conj() * stretched).sum().real
        least = max(eps, LARGEST_GRADIENT / torch.finfo(weight.dtype).max)
        return (W / sigma.clamp_min(least)).to(weight.dtype)


@torch.no_grad()
def iterate_plainly(matrix: Tensor, u: Tensor, v: Tensor, times: int) -> tuple[Tensor, Tensor]:
    """Return u and v after ``times`` power iterations, in the precision of :func:`widened`.

    ``u <- Wv / |Wv|``, ``v <- W^H u / |W^H u|``. An all-zero matrix leaves both as they are.
    """
    W = widened(matrix)
    u, v = u.to(W.dtype), v.to(W.dtype)
    with _without_autocast(W):
        for _ in range(times):
            u = _unit(W @ v + MEMORY * u)
            v = _unit(W.mH @ u + MEMORY * v)
    return u, v


def widened(tensor: Tensor) -> Tensor:
    """Return a tensor of half precision in float32 (complex: complex64); any other tensor as it is.

    In float16, 1e-18 and its square are rounded to 0. In bfloat16, sums keep only three digits.
    """
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _without_autocast(tensor: Tensor) -> AbstractContextManager[None]:
    device = tensor.device.type
    # torch.compile of torch 2.9 cannot ask whether there is autocast.
    available = device in {"cpu", "cuda"} or torch.amp.is_autocast_available(device)
    return torch.autocast(device, enabled=False) if available else nullcontext()


def _unit(vector: Tensor) -> Tensor:
    return vector / torch.linalg.vector_norm(vector)
