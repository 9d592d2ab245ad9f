"""Mean, variance, l2 norm and non-finite entries of whole tensors."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from probes.metrics.length import l2_norms
from probes.metrics.metric import Metric
from probes.metrics.reducer import PIECE
from probes.schema import Column, pa


def moments(tensors: list[Tensor]) -> Tensor:
    """Return mean, population variance, l2 norm and the count of non-finite entries: ``(4, layers)`` float64.

    ``mean = sum(x) / n``, ``var = sum((x - mean)^2) / n``, ``l2 = sqrt(sum(x^2))``. Two passes: the difference
    ``E[x^2] - E[x]^2`` would cancel in float32 and go negative. NaN or an infinity gives NaN or an infinity, and is
    counted beside; a constant has variance 0; no elements: mean and variance NaN, l2 norm 0.
    """
    counts = _counts(tensors)
    means = torch.stack([tensor.sum() for tensor in tensors]).double() / counts
    squares = _squares_about(tensors, means)
    l2 = torch.where(counts > 0, (squares + counts * means.square()).sqrt(), 0.0)
    return torch.stack([means, squares / counts, l2, _nonfinite(tensors, means, counts)])


def mean_and_variance(tensors: list[Tensor]) -> Tensor:
    """Return the first two rows of :func:`moments`: ``(2, layers)`` float64."""
    return moments(tensors)[:2]


def mean_variance_and_l2_norm(tensors: list[Tensor]) -> Tensor:
    """Return the first three rows of :func:`moments`: ``(3, layers)`` float64."""
    return moments(tensors)[:3]


def _counts(tensors: list[Tensor]) -> Tensor:
    counts = torch.tensor([tensor.numel() for tensor in tensors], dtype=torch.float64)
    return counts.to(tensors[0].device, non_blocking=True)


def _squares_about(tensors: list[Tensor], means: Tensor) -> Tensor:
    """Return ``sum((x - mean)^2)`` of each tensor; the differences of at most ``PIECE`` elements exist at a time."""
    centres = [mean.to(tensor.dtype) for mean, tensor in zip(means.unbind(), tensors, strict=True)]
    squares = []
    for first, last in _batches(tensors):
        batch = tensors[first:last]
        if batch[0].numel() > PIECE:
            parts = batch[0].reshape(-1).split(PIECE)
            squares.append(
                torch.cat([l2_norms([part - centres[first]]) for part in parts]).square().sum(0, keepdim=True)
            )
        else:
            squares.append(l2_norms(list(torch._foreach_sub(batch, centres[first:last]))).square())
    return torch.cat(squares)


def _batches(tensors: list[Tensor]) -> Iterator[tuple[int, int]]:
    """Yield ranges of indices whose tensors have at most ``PIECE`` elements together; a larger one comes alone."""
    first, elements = 0, 0
    for index, tensor in enumerate(tensors):
        if index > first and elements + tensor.numel() > PIECE:
            yield first, index
            first, elements = index, 0
        elements += tensor.numel()
    yield first, len(tensors)


def _nonfinite(tensors: list[Tensor], means: Tensor, counts: Tensor) -> Tensor:
    # A finite mean of elements proves that all are finite. On the CPU that look is free; on CUDA it would be a sync.
    if not means.is_cuda and bool(means.isfinite().all()):
        return torch.zeros_like(means)
    return counts - torch.stack([torch.count_nonzero(tensor.isfinite()) for tensor in tensors])


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
    _columns("raw_weight", "parameter under a parametrization; null where it is the effective weight")[:2],
)
BIAS_MOMENTS = Metric(
    "bias_moments", "weights", "bias", mean_and_variance, _columns("bias", "bias of the layer, a norm's beta or m")[:2]
)
GRADIENT_MOMENTS = Metric(
    "grad_moments", "gradients", "gradient", mean_variance_and_l2_norm, _columns("grad", GRADIENT)[:3]
)
