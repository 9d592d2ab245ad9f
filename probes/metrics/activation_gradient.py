"""Variance and sparsity of the gradient that arrives at a layer's output."""

from __future__ import annotations

import torch
from torch import Tensor

from probes.metrics.activation_moments import merge_moments, reduce_moments
from probes.metrics.metric import Metric
from probes.metrics.reducer import Reducer, count
from probes.schema import Column


def reduce_gradient(gradient: Tensor, channel_dim: int) -> Tensor:
    """Return ``[n, mean, sum((g - mean)^2), nonfinite, exact zeros]`` in float64."""
    zeros = count(torch.eq, gradient, 0).reshape(1)
    return torch.cat([reduce_moments(gradient, channel_dim)[:4], zeros])


def merge_gradient(vectors: Tensor) -> Tensor:
    """Merge the vectors of :func:`reduce_gradient`, ``(parts, size)``."""
    return torch.cat([merge_moments(vectors)[:4], vectors[:, 4:].sum(0)])


def gradient_statistics(vectors: list[Tensor]) -> Tensor:
    """Return variance and sparsity, ``(2, layers)``; NaN in, NaN variance out; no elements: NaN."""
    n, _, squares, _, zeros = torch.stack(vectors).unbind(1)
    return torch.stack([squares / n, zeros / n])


GRADIENT = Reducer(reduce_gradient, merge_gradient, of="output_gradient")

_OUTPUT_GRADIENT = (
    "gradient of the loss by the module's output, as it arrives in the backward pass; null in compiled modules"
)

ACTIVATION_GRADIENT = Metric(
    "activation_gradient",
    "activation_gradients",
    "activation_gradient",
    gradient_statistics,
    (
        Column("activation_grad_var", "1", "sum((g - mean)^2) / n", _OUTPUT_GRADIENT),
        Column("activation_grad_sparsity", "1", "share of elements that are exactly 0", _OUTPUT_GRADIENT),
    ),
    min_steps_between=10,
    reducer=GRADIENT,
)
