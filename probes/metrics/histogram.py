"""Histograms over signed exponent bins, and what is read off them: sparsity, near-sparsity, non-finite entries.

The bins are those of :func:`probes.schema.bin_edges`: fixed, so counts add exactly over steps, layers, ranks and runs,
and no pass over the data looks for a range first.
"""

from __future__ import annotations

import torch
from torch import Tensor

from probes.metrics.metric import Metric
from probes.metrics.moments import GRADIENT
from probes.metrics.reducer import Reducer
from probes.schema import HISTOGRAMS, Column, pa

MANTISSA_BITS = 0
OCTAVE = 1 << MANTISSA_BITS
HALF = 256 * OCTAVE  # bins of one sign, NaN and infinities in the last octave
SLOTS = 2 * HALF
_SHIFT = 23 - MANTISSA_BITS
_CHUNK = 1 << 20  # elements binned at a time: the scratch memory stays bounded and in the cache

NEAR = 10


def exponent_histogram(tensors: list[Tensor]) -> list[Tensor]:
    """Return for each tensor its counts over all signed exponent bins, then the exact zeros: ``(SLOTS + 1,)`` int64.

    Slot ``s < HALF`` counts the negative numbers of bin ``-1 - s``, slot ``HALF + i`` the positive ones of bin ``i``;
    NaN and infinities are in the last octave of each half. Every element is in exactly one slot, and the exact zeros
    are counted again in the last entry. Tensors wider than float32 are rounded to it; no elements give zeros.
    Source: IEEE 754, whose sign and exponent bits are the bin number.
    """
    return [_histogram(tensor.float().reshape(-1)) for tensor in tensors]


def _histogram(values: Tensor) -> Tensor:
    counts = values.new_zeros(SLOTS + 1, dtype=torch.int64)
    for chunk in values.split(_CHUNK):
        # An arithmetic shift leaves negative floats HALF * 2 below where their magnitude stands: one addition orders
        # them.
        slots = (chunk.view(torch.int32) >> _SHIFT).add_(HALF)
        if chunk.is_cuda:  # bincount waits for the device there
            counts.scatter_add_(0, slots.long(), counts.new_ones(1).expand(len(chunk)))
        else:
            counts[:SLOTS] += torch.bincount(slots, minlength=SLOTS)
    counts[SLOTS] = _zeros(values, counts)
    return counts


def _zeros(values: Tensor, counts: Tensor) -> Tensor | int:
    # Zeros share bins 0 and -1 with the subnormal numbers. Where both are empty nothing needs to be counted.
    if not values.is_cuda and not (counts[HALF] or counts[0]):
        return 0
    return values.numel() - torch.count_nonzero(values)


def sparsities(histograms: list[Tensor]) -> Tensor:
    """Return sparsity, near-sparsity and the count of non-finite entries: ``(3, layers)`` float64.

    Sparsity is the share of elements that are exactly 0. Near-sparsity is the share below ``2^(floor(log2 rms) - 10)``
    in magnitude, zeros included: about a thousandth of the root mean square, which is taken from the histogram itself,
    ``rms^2 = sum_i counts_i (7/3) 4^(e_i) / n``: the mean square of numbers spread evenly over octave ``e_i``. With NaN
    or an infinity among the elements near-sparsity is NaN; no elements give NaN for both shares. All elements zero give
    1.
    """
    table = torch.stack(histograms)
    n = table[:, :SLOTS].sum(1).double()
    octaves = _octaves(table)  # (layers, 256)
    nonfinite = octaves[:, 255]
    return torch.stack([table[:, SLOTS] / n, _near_share(octaves, n, nonfinite), nonfinite.double()])


def reduce_histogram(activation: Tensor, channel_dim: int) -> Tensor:  # noqa: ARG001 - a reducer is told it
    """Return one tensor's histogram, the vector of :func:`exponent_histogram`."""
    return exponent_histogram([activation])[0]


def merge_histograms(histograms: Tensor) -> Tensor:
    """Return the histogram of the whole, ``(parts, SLOTS + 1) -> (SLOTS + 1,)``: counts add, exactly."""
    return histograms.sum(0).long()


def _octaves(table: Tensor) -> Tensor:
    """Counts by octave of the magnitude, both signs together: ``(layers, 256)``."""
    both = table[:, :HALF] + table[:, HALF:SLOTS]
    return both.unflatten(1, (256, OCTAVE)).sum(2)


def _near_share(octaves: Tensor, n: Tensor, nonfinite: Tensor) -> Tensor:
    exponents = torch.arange(256, dtype=torch.float64, device=octaves.device) - 127
    squares = (7 / 3) * 4.0**exponents
    squares[0] = 0.0
    log2_rms = 0.5 * torch.log2((octaves[:, :255].double() @ squares[:255]) / n)
    threshold = (log2_rms.floor() - NEAR + 127).clamp(1, 254)  # the biased exponent; below 1 are zeros and subnormals
    below = torch.where(exponents + 127 < threshold.unsqueeze(1), octaves, 0).sum(1) / n
    return torch.where(nonfinite > 0, torch.nan, below)


GRADIENT_SPARSITIES = Metric(
    "grad_sparsities",
    "gradients",
    "gradient_histogram",
    sparsities,
    (
        Column("grad_sparsity", "1", "share of elements that are exactly 0", GRADIENT),
        Column("grad_near_sparsity", "1", "share with |g| < 2^(floor(log2 rms) - 10)", GRADIENT),
        Column("grad_nonfinite", "elements", "count of NaN and infinite elements", GRADIENT, type=pa.int64()),
    ),
)
GRADIENT_HISTOGRAM = Metric(
    "gradient_histogram", "gradients", "gradient_histogram", torch.stack, table=HISTOGRAMS, label="gradient"
)
WEIGHT_HISTOGRAM = Metric(
    "weight_histogram",
    "weight_histograms",
    "weight_histogram",
    torch.stack,
    table=HISTOGRAMS,
    label="weight",
    stride=10,
)
ACTIVATION_HISTOGRAM = Metric(
    "activation_histogram",
    "activation_histograms",
    "activation_histogram",
    torch.stack,
    table=HISTOGRAMS,
    label="activation",
    stride=10,
    reducer=Reducer(reduce_histogram, merge_histograms),
)
