"""The moments that an optimizer keeps of the gradient: Adam's two, the momentum of SGD and Muon."""

from __future__ import annotations

import torch
from torch import Tensor

from probes.metrics.l2_norm import l2_norms
from probes.metrics.metric import Metric
from probes.metrics.rows import sums
from probes.metrics.waiting import looks_wait
from probes.schema import Column

_EVERY_NTH = 10  # every tenth record: the moments are averages over many steps


def _sizes(tensors: list[Tensor]) -> Tensor:
    sizes = torch.tensor([tensor.numel() for tensor in tensors], dtype=torch.float64, device="cpu")
    return sizes.to(tensors[0].device, non_blocking=True)


def first_moment_rms(moments: list[Tensor]) -> Tensor:
    """Return ``sqrt(sum(m^2) / n)`` of each first moment, ``(1, layers)`` float64; NaN in, NaN out; no elements NaN."""
    return (l2_norms(moments) / _sizes(moments).sqrt()).unsqueeze(0)


def second_moment_root(moments: list[Tensor]) -> Tensor:
    """Return ``sqrt(sum(v) / n)`` of each second moment, ``(1, layers)`` float64: an rms of the gradient.

    NaN in, NaN out; no elements NaN.
    """
    return (_sums(moments) / _sizes(moments)).sqrt().unsqueeze(0)


def _sums(tensors: list[Tensor]) -> Tensor:
    return sums(tensors) if looks_wait(tensors[0]) else torch.stack([each.sum(dtype=torch.float64) for each in tensors])


def moment_ratio(pairs: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Return ``sqrt(sum(m^2) / sum(v))`` of each layer, ``(1, layers)`` float64; NaN before the first gradient.

    The ratio is near 1 if successive gradients agree. If they are independent and their mean is 0, it is ``sqrt((1 -
    beta_1) / (1 + beta_1))``, which is 0.23 for ``beta_1 = 0.9``.
    """
    firsts, seconds = (list(moments) for moments in zip(*pairs, strict=True))
    return first_moment_rms(firsts) / second_moment_root(seconds)


_ADAM = "Kingma and Ba 2015, Algorithm 1"
_AFTER = "after the step, without bias correction"

FIRST_MOMENT = Metric(
    "first_moment",
    "optimizer",
    "first_moment",
    first_moment_rms,
    (
        Column(
            "first_moment_rms",
            "1",
            "sqrt(sum(m^2) / n); null where the optimizer keeps none",
            f"exp_avg (Adam) or momentum_buffer (SGD, Muon) of the layer's parameter, {_AFTER}",
            _ADAM,
        ),
    ),
    every_nth_record=_EVERY_NTH,
    after_update=True,
)
SECOND_MOMENT = Metric(
    "second_moment",
    "optimizer",
    "second_moment",
    second_moment_root,
    (
        Column(
            "second_moment_root",
            "1",
            "sqrt(sum(v) / n), the rms of the gradient as the optimizer knows it; null where it keeps none",
            f"exp_avg_sq (Adam) or square_avg (RMSprop) of the layer's parameter, {_AFTER}",
            _ADAM,
        ),
    ),
    every_nth_record=_EVERY_NTH,
    after_update=True,
)
MOMENT_RATIO = Metric(
    "moment_ratio",
    "optimizer",
    "moments",
    moment_ratio,
    (
        Column(
            "moment_ratio",
            "1",
            "sqrt(sum(m^2) / sum(v)): 1 where successive gradients agree, 0.23 where they are noise (beta_1 = 0.9)",
            f"both moments of the layer's parameter, {_AFTER}",
            _ADAM,
        ),
    ),
    every_nth_record=_EVERY_NTH,
    after_update=True,
)
