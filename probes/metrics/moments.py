"""Mean, variance, l2 norm and non-finite entries of whole tensors."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from probes.metrics.channel_layout import numbers
from probes.metrics.flat import PIECE, flat
from probes.metrics.l2_norm import host_l2_norms, l2_norms
from probes.metrics.metric import Metric
from probes.metrics.rows import InRows
from probes.metrics.waiting import looks_wait
from probes.schema import Column, pa

_SMALL = 4096  # up to this number of elements, copying a tensor beside others is cheaper than a separate pass
_CANCELLATION = 64.0  # mean^2 / var beyond which one pass in float32 loses more than two digits


def moments(tensors: list[Tensor]) -> Tensor:
    """Return mean, population variance, l2 norm and the count of non-finite entries: ``(4, layers)`` float64.

    ``mean = sum(x) / n``, ``var = sum((x - mean)^2) / n``, ``l2 = sqrt(sum(x^2))``. The difference ``E[x^2] - E[x]^2``
    is used only if it cannot cancel. Otherwise a second pass sums the squared deviations from the mean. NaN or an
    infinity gives NaN or an infinity, and is counted as non-finite. A constant has variance 0. No elements give mean
    and variance NaN, and l2 norm 0. A tensor that is in the list twice is computed once.
    """
    places = {id(tensor): place for place, tensor in enumerate({id(t): t for t in tensors}.values())}
    if len(places) == len(tensors):
        return _of_each(tensors)
    each = _of_each(list({id(tensor): tensor for tensor in tensors}.values()))
    return each[:, [places[id(tensor)] for tensor in tensors]]


def _of_each(tensors: list[Tensor]) -> Tensor:
    return _on_device(tensors) if looks_wait(tensors[0]) else _on_host(tensors)


def _on_device(tensors: list[Tensor]) -> Tensor:
    """Compute with two passes over all elements, without reading a value on the host."""
    n = numbers(tuple(tensor.numel() for tensor in tensors), tensors[0].device)
    totals, nonfinite, squares = (torch.zeros_like(n) for _ in range(3))
    in_rows = InRows(tensors)
    for rows in in_rows:
        rows.add_to(totals, rows.values.sum(1, dtype=torch.float64))
        rows.add_to(nonfinite, torch.ne(rows.values - rows.values, 0).sum(1))  # x - x is NaN if x is not finite
    means = totals / n
    for rows in in_rows:
        rows.add_to(squares, rows.squares_about(means))
    l2 = torch.where(n > 0, (squares + n * means.square()).sqrt(), 0.0)
    return torch.stack([means, squares / n, l2, nonfinite])


def _squares_about(tensor: Tensor, mean: Tensor) -> Tensor:
    """Return ``sum((x - mean)^2)``, ``(1,)``, with scratch memory for ``PIECE`` elements."""
    centre = mean.to(tensor.dtype)
    parts = [l2_norms([part - centre]) for part in flat(tensor).split(PIECE)]
    return torch.cat(parts).square().sum(0, keepdim=True)


def _on_host(tensors: list[Tensor]) -> Tensor:
    # Plain Python for a few dozen numbers: between two training steps NumPy's code has left the caches.
    sizes = [tensor.numel() for tensor in tensors]
    found = [(math.nan, 0.0)] * len(sizes)  # mean, and squared deviations from it
    small = [i for i, n in enumerate(sizes) if 0 < n <= _SMALL]
    large = [i for i, n in enumerate(sizes) if n > _SMALL]
    for members, compute in ((small, _of_small), (large, _of_large)):
        if members:
            for i, moment in zip(members, compute([tensors[i] for i in members]), strict=True):
                found[i] = moment
    rows = [_row(tensor, n, *moment) for tensor, n, moment in zip(tensors, sizes, found, strict=True)]
    return torch.tensor(rows, dtype=torch.float64).mT


def _row(tensor: Tensor, n: int, mean: float, squares: float) -> tuple[float, float, float, float]:
    if not n:
        return math.nan, math.nan, 0.0, 0.0
    # A finite sum proves that all elements are finite.
    nonfinite = 0 if math.isfinite(mean) else n - int(torch.count_nonzero(tensor.isfinite()))
    return mean, squares / n, math.sqrt(squares + n * mean * mean), nonfinite


@np.errstate(invalid="ignore", over="ignore")  # NaN in, NaN out: divergence is a finding, not a warning of NumPy's
def _of_small(tensors: list[Tensor]) -> Iterator[tuple[float, float]]:
    """Return means and sums of squared deviations, with all tensors side by side in float64."""
    values = torch.cat([flat(tensor) for tensor in tensors]).numpy().astype(np.float64)
    n = np.array([tensor.numel() for tensor in tensors])
    starts = np.cumsum(n) - n
    means = np.add.reduceat(values, starts) / n
    values -= np.repeat(means, n)
    values *= values
    return zip(means.tolist(), np.add.reduceat(values, starts).tolist(), strict=True)


def _of_large(tensors: list[Tensor]) -> Iterator[tuple[float, float]]:
    """Yield means and sums of squared deviations.

    One pass gives the sum and one the length. A third pass follows if their difference would cancel.
    """
    sums = [tensor.sum().item() for tensor in tensors]
    for tensor, in_single, length in zip(tensors, sums, host_l2_norms(tensors), strict=True):
        # A sum may exceed float32 although no element does.
        total = in_single if math.isfinite(in_single) else tensor.sum(dtype=torch.float64).item()
        mean = total / tensor.numel()
        squares = length * length - total * mean
        if math.isfinite(total) and not total * mean <= _CANCELLATION * squares:
            squares = _squares_about(tensor, torch.tensor(mean, dtype=torch.float64)).item()
        yield mean, squares


def moment_columns(prefix: str, tensor: str) -> tuple[Column, ...]:
    """Return the columns of :func:`moments`.

    Their names begin with a prefix.

    Args:
        prefix: The prefix, such as ``weight_``. It may be empty.
        tensor: The tensor on which they are measured.
    """
    return (
        Column(f"{prefix}mean", "1", "sum(x) / n", tensor),
        Column(f"{prefix}var", "1", "sum((x - mean)^2) / n", tensor),
        Column(f"{prefix}l2_norm", "1", "sqrt(sum(x^2))", tensor),
        Column(f"{prefix}nonfinite", "elements", "count of NaN and infinite elements", tensor, type=pa.int64()),
    )


WEIGHT = "effective weight"
GRADIENT = "gradient of the parameter, as the optimizer uses it"
_RAW = "parameter under a parametrization; null where it is the effective weight"
_BIAS = "bias of the layer, a norm's beta or m"

# All four share one function, which is called once for all their tensors. Each uses as many rows as it has columns.
WEIGHT_MOMENTS = Metric("weight_moments", "weights", "weight", moments, moment_columns("weight_", WEIGHT))
RAW_WEIGHT_MOMENTS = Metric(
    "raw_weight_moments", "weights", "raw_weight", moments, moment_columns("raw_weight_", _RAW)[:2]
)
BIAS_MOMENTS = Metric("bias_moments", "weights", "bias", moments, moment_columns("bias_", _BIAS)[:2])
GRADIENT_MOMENTS = Metric("grad_moments", "gradients", "gradient", moments, moment_columns("grad_", GRADIENT)[:3])
