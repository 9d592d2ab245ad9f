"""Gradient noise: how much the gradients of micro-batches differ."""

from __future__ import annotations

import torch
from torch import Tensor

from probes.metrics.metric import Metric
from probes.schema import Column


def gradient_noise(parts: list[Tensor]) -> Tensor:
    """Return the unbiased variance between micro-batches, averaged over elements: ``(1, layers)`` float64.

    Each of ``R`` ranks makes ``N`` passes; their ``K = R N`` contributions ``d_i`` make up the gradient
    ``g = sum_i d_i / R``, so that ``g_i = N d_i`` estimates it alone, and
    ``noise = sum_i |g_i - g|^2 / (K - 1) / n = (N^2 sum |d_i|^2 - K |g|^2) / (K - 1) / n``. It is stated in the units
    of the gradient that the optimizer uses: what a GradScaler or clipping did to the length of the sum is divided out.
    NaN where ``K`` is, see :meth:`probes.hooks.micro_batches.MicroBatchHooks.take`.

    Args:
        parts: For each layer ``[K, N, sum |d_i|^2, |g|^2, |g|^2 as used, n]``.
    """
    count, passes, each, whole, used, n = torch.stack(parts).unbind(1)
    spread = (passes.square() * each - count * whole).clamp_min(0) / (count - 1) / n
    return (spread * used / whole).unsqueeze(0)


GRADIENT_NOISE = Metric(
    "grad_noise",
    "gradient_noise",
    "micro_batches",
    gradient_noise,
    (
        Column(
            "grad_noise",
            "1",
            "sum_i |g_i - g|^2 / (K - 1) / n over K micro-batches of all ranks; null where K = 1",
            "gradient of the parameter, by micro-batch and rank",
            "McCandlish et al. 2018, appendix A",
        ),
    ),
)
