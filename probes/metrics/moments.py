"""Mean, variance, l2 norm and non-finite entries of whole tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from probes.metrics.metric import Metric
from probes.schema import Column, pa


def moments(tensors: list[Tensor]) -> Tensor:
    """Return mean, population variance, l2 norm and the count of non-finite entries: ``(4, layers)`` float64.

    ``mean = sum(x) / n``, ``var = sum((x - mean)^2) / n``, ``l2 = sqrt(sum(x^2))``. Two passes: the difference
    ``E[x^2] - E[x]^2`` would cancel in float32 and go negative. NaN or an infinity gives NaN or an infinity, and is
    counted beside; a constant has variance 0; no elements: mean and variance NaN, l2 norm 0.
    """
    counts = torch.tensor([t.numel() for t in tensors], dtype=torch.float64)
    if tensors[0].is_cuda:
        counts = counts.to(tensors[0].device, non_blocking=True)
    means = torch.stack([t.sum() for t in tensors]).double() / counts
    centred = torch._foreach_sub(tensors, [m.to(t.dtype) for m, t in zip(means.unbind(), tensors, strict=True)])
    residual = torch.stack(torch._foreach_norm(centred)).double().square()
    variances = residual / counts
    l2_norms = torch.where(counts > 0, (residual + counts * means.square()).sqrt(), 0.0)
    return torch.stack([means, variances, l2_norms, _nonfinite(tensors, means)])


def mean_and_variance(tensors: list[Tensor]) -> Tensor:
    """Return the first two rows of :func:`moments`: ``(2, layers)`` float64."""
    return moments(tensors)[:2]


def mean_variance_and_l2_norm(tensors: list[Tensor]) -> Tensor:
    """Return the first three rows of :func:`moments`: ``(3, layers)`` float64."""
    return moments(tensors)[:3]


def _nonfinite(tensors: list[Tensor], means: Tensor) -> Tensor:
    # A finite mean of elements proves that all are finite. On the CPU that look is free; on CUDA it would be a sync.
    if not means.is_cuda and bool(means.isfinite().all()):
        return torch.zeros_like(means)
    finite = torch.stack([torch.count_nonzero(t.isfinite()) for t in tensors])
    return torch.stack([torch.tensor(t.numel()) for t in tensors]).to(finite.device) - finite.double()


def _columns(prefix: str, tensor: str) -> tuple[Column, ...]:
    return (
        Column(f"{prefix}_mean", "1", "sum(x) / n", tensor),
        Column(f"{prefix}_var", "1", "sum((x - mean)^2) / n", tensor),
        Column(f"{prefix}_l2_norm", "1", "sqrt(sum(x^2))", tensor),
        Column(f"{prefix}_nonfinite", "elements", "count of NaN and infinite elements", tensor, type=pa.int64()),
    )


WEIGHT = "effective weight"
GRADIENT = "gradient of the parameter, as the optimizer uses it"

WEIGHT_MOMENTS = Metric("weight_moments", "weights", "weight", moments, _columns("weight", WEIGHT))
RAW_WEIGHT_MOMENTS = Metric(
    "raw_weight_moments",
    "weights",
    "raw_weight",
    mean_and_variance,
    _columns("raw_weight", "parameter under a parametrization")[:2],
)
BIAS_MOMENTS = Metric(
    "bias_moments", "weights", "bias", mean_and_variance, _columns("bias", "bias, beta or m of the layer")[:2]
)
GRADIENT_MOMENTS = Metric(
    "grad_moments", "gradients", "gradient", mean_variance_and_l2_norm, _columns("grad", GRADIENT)[:3]
)
