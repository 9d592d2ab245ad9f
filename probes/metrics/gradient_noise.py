"""Gradient noise: how much the gradients of micro-batches differ."""

from __future__ import annotations

import torch
from torch import Tensor

from probes.metrics.metric import Metric
from probes.schema import Column, pa


def gradient_noise(parts: list[Tensor]) -> Tensor:
    """Return noise, number of micro-batches, trace of their covariance and signal, ``(4, layers)`` float64.

    Each of ``R`` ranks makes ``N`` passes. Their ``K = R N`` contributions ``d_i`` make up the gradient ``g = sum_i d_i
    / R``. Each ``g_i = N d_i`` alone is an estimate of ``g``. The unbiased estimate of the trace of the covariance of
    ``g_i`` is ``trace = sum_i |g_i - g|^2 / (K - 1) = (N^2 sum |d_i|^2 - K |g|^2) / (K - 1)``, ``noise = trace / n``
    its average over elements, and ``signal = |g|^2 - trace / K`` the unbiased estimate of the squared length of the
    true gradient. This estimate may be negative. All numbers are in the units of the gradient that the optimizer uses:
    the factor of a GradScaler or of clipping on the length of the sum is divided out. All are NaN if ``K`` is NaN, see
    :meth:`probes.hooks.gradient_hooks.GradientHooks.take`.

    Args:
        parts: For each layer ``[K, N, sum |d_i|^2, |g|^2, |g|^2 as used, n]``.
    """
    count, passes, each, whole, used, n = torch.stack(parts).unbind(1)
    trace = (passes.square() * each - count * whole).clamp_min(0) / (count - 1) * used / whole
    return torch.stack([trace / n, count, trace, used - trace / count])


_MCCANDLISH = "McCandlish et al. 2018, appendix A"
_BY_MICRO_BATCH = "gradient of the parameter, by micro-batch and rank; null where K = 1"

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
            _MCCANDLISH,
        ),
        Column("grad_micro_batches", "1", "K, of all ranks", _BY_MICRO_BATCH, type=pa.int64()),
        Column("grad_noise_trace", "1", "tr(C) = sum_i |g_i - g|^2 / (K - 1)", _BY_MICRO_BATCH, _MCCANDLISH),
        Column(
            "grad_signal",
            "1",
            "|G|^2 = |g|^2 - tr(C) / K, unbiased; with b samples a micro-batch the simple noise scale in samples is"
            " S = b tr(C) / |G|^2, each summed over the layers for the whole network",
            _BY_MICRO_BATCH,
            _MCCANDLISH,
        ),
    ),
)
