"""Variance and sparsity of the gradient that arrives at a layer's output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from probes.metrics.activation_moments import Begun, begin_moments, finish_moments, merge_moments
from probes.metrics.channel_sums import ChannelSums
from probes.metrics.metric import Metric
from probes.metrics.reducer import Reducer, count
from probes.schema import Column

_Begun = tuple[Begun, Any]  # the second entry is the number of zeros, if the first does not have it


def reduce_gradient(gradient: Tensor, channel_dim: int) -> Tensor:
    """Return ``[n, mean, sum((g - mean)^2), nonfinite, exact zeros]`` in float64."""
    found = begin_gradient(gradient, channel_dim)
    return found if isinstance(found, Tensor) else finish_gradient([found])[0]


def begin_gradient(gradient: Tensor, channel_dim: int) -> Tensor | _Begun:
    """Begin :func:`reduce_gradient`: return its vector, or the input from which :func:`finish_gradient` makes it."""
    begun = begin_moments(gradient, channel_dim)
    if isinstance(begun, ChannelSums):
        return begun, None
    zeros = count(torch.eq, gradient, 0).reshape(1)
    return torch.cat([begun[:4], zeros]) if isinstance(begun, Tensor) else (begun, zeros)


def finish_gradient(begun: Sequence[_Begun]) -> list[Tensor]:
    """Return the vectors of :func:`reduce_gradient` of several gradients."""
    vectors = finish_moments([moments for moments, _ in begun])
    zeros = [moments.parts[5].sum().reshape(1) if isinstance(moments, ChannelSums) else own for moments, own in begun]
    return [torch.cat([vector[:4], own]) for vector, own in zip(vectors, zeros, strict=True)]


def merge_gradient(vectors: Tensor) -> Tensor:
    """Merge the vectors of :func:`reduce_gradient`, ``(parts, size)``."""
    return torch.cat([merge_moments(vectors)[:4], vectors[:, 4:].sum(0)])


def gradient_statistics(vectors: list[Tensor]) -> Tensor:
    """Return variance and sparsity, ``(2, layers)``; NaN gives a NaN variance; no elements give NaN."""
    n, _, squares, _, zeros = torch.stack(vectors).unbind(1)
    return torch.stack([squares / n, zeros / n])


GRADIENT = Reducer(begin_gradient, merge_gradient, finish=finish_gradient, of="output_gradient")

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
