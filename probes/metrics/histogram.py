"""Histograms over signed exponent bins, and what is read off them: sparsity, near-sparsity, non-finite entries.

The bins are those of :func:`probes.schema.bin_edges`: fixed, so counts add exactly over steps, layers, ranks and runs,
and no pass over the data looks for a range first.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from probes.metrics.flat import PIECE, batches, flat
from probes.metrics.metric import Metric
from probes.metrics.moments import GRADIENT
from probes.metrics.reducer import Reducer
from probes.schema import HISTOGRAMS, Column, pa

MANTISSA_BITS = 1  # two bins an octave: 70 bytes a layer and step in the closed store; one bin 44, four bins 115
OCTAVE = 1 << MANTISSA_BITS
HALF = 256 * OCTAVE  # bins of one sign, NaN and infinities in the last octave
SLOTS = 2 * HALF
NEAR = 10
_SHIFT = 23 - MANTISSA_BITS


def exponent_histograms(tensors: list[Tensor]) -> Tensor:
    """Return each tensor's counts over all signed exponent bins, then its exact zeros: ``(layers, SLOTS + 1)`` int64.

    Slot ``s < HALF`` counts the negative numbers of bin ``-1 - s``, slot ``HALF + i`` the positive ones of bin ``i``;
    NaN and infinities are in the last octave of each half. Every element is in exactly one slot, and the exact zeros
    are counted again in the last entry. Tensors wider than float32 are rounded to it; no elements give zeros.
    Source: IEEE 754, whose sign and exponent bits are the bin number.
    """
    flats = [flat(tensor.float()) for tensor in tensors]
    sizes = tuple(len(values) for values in flats)
    counts = flats[0].new_zeros(len(flats), SLOTS + 1, dtype=torch.int64)
    for first, last in batches(sizes):
        if last - first == 1:
            for piece in flats[first].split(PIECE):
                counts[first, :SLOTS] += _count(piece, (len(piece),))[0]
        else:
            counts[first:last, :SLOTS] = _count(torch.cat(flats[first:last]), sizes[first:last])
    counts[:, SLOTS] = _zeros(flats, counts)
    return counts


def _count(values: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Count the slots of tensors that lie one after the other: ``(tensors, SLOTS)``."""
    slots = values.view(torch.int32) >> _SHIFT
    # The shift leaves negative floats 2 HALF below where their magnitude stands: adding HALF orders all slots.
    for index, part in enumerate(slots.split(sizes)):
        part.add_(SLOTS * index + HALF)
    if not values.is_cuda:
        return torch.bincount(slots, minlength=SLOTS * len(sizes)).view(len(sizes), SLOTS)
    # bincount waits for the device to know how many bins there are.
    counts = values.new_zeros(SLOTS * len(sizes), dtype=torch.int64)
    return counts.scatter_add_(0, slots.long(), counts.new_ones(1).expand(len(values))).view(len(sizes), SLOTS)


def _zeros(flats: list[Tensor], counts: Tensor) -> Tensor:
    # Zeros share bins 0 and -1 with the subnormal numbers. Where both are empty nothing needs to be counted.
    if counts.is_cuda:
        return torch.stack([len(values) - torch.count_nonzero(values) for values in flats])
    candidates = (counts[:, HALF] + counts[:, 0]).tolist()
    return torch.tensor([n and len(x) - int(torch.count_nonzero(x)) for n, x in zip(candidates, flats, strict=True)])


def sparsities(histograms: np.ndarray) -> np.ndarray:
    """Return sparsity, near-sparsity and the count of non-finite entries, ``(3, layers)``, of ``(SLOTS + 1, layers)``.

    Sparsity is the share of elements that are exactly 0. Near-sparsity is the share below ``2^(floor(log2 rms) - 10)``
    in magnitude, zeros included: about a thousandth of the root mean square, which is taken from the histogram itself,
    ``rms^2 = sum_i counts_i (7/3) 4^(e_i) / n``: the mean square of numbers spread evenly over octave ``e_i``. With NaN
    or an infinity among the elements near-sparsity is NaN; no elements give NaN for both shares. All elements zero give
    1.
    """
    magnitudes = histograms[:HALF] + histograms[HALF:SLOTS]
    octaves = magnitudes.reshape(256, OCTAVE, *magnitudes.shape[1:]).sum(axis=1)  # (256, layers)
    n, nonfinite = octaves.sum(axis=0), octaves[255]
    with np.errstate(divide="ignore", invalid="ignore"):
        near = np.where(nonfinite > 0, np.nan, _near(octaves[:255]) / n)
        return np.stack([histograms[SLOTS] / n, near, nonfinite])


def _near(octaves: np.ndarray) -> np.ndarray:
    """Count the elements below the threshold, from the counts by biased exponent: ``(255, layers)``."""
    exponents = np.arange(255).reshape(-1, *[1] * (octaves.ndim - 1))
    squares = np.where(exponents > 0, 7 / 3 * 4.0 ** (exponents - 127), 0.0)  # bin 0 holds zeros and subnormals
    log2_rms = 0.5 * np.log2((octaves * squares).sum(axis=0) / octaves.sum(axis=0))
    threshold = np.clip(np.floor(log2_rms) - NEAR + 127, 1, 254)
    return np.where(exponents < threshold, octaves, 0).sum(axis=0)


def reduce_histogram(activation: Tensor, channel_dim: int) -> Tensor:  # noqa: ARG001 - a reducer is told it
    """Return one tensor's histogram, a row of :func:`exponent_histograms`."""
    return exponent_histograms([activation])[0]


def merge_histograms(histograms: Tensor) -> Tensor:
    """Return the histogram of the whole, ``(parts, SLOTS + 1) -> (SLOTS + 1,)``: counts add, exactly."""
    return histograms.sum(0).long()


def counts_of(histograms: Tensor | list[Tensor]) -> Tensor:
    """Return the histograms as one table, ``(layers, SLOTS + 1)``."""
    return histograms if isinstance(histograms, Tensor) else torch.stack(histograms)


def slots_first(histograms: Tensor) -> Tensor:
    """Return the histograms as ``(SLOTS + 1, layers)``; the shares are taken on the host, from many steps at once."""
    return histograms.mT


GRADIENT_SPARSITIES = Metric(
    "grad_sparsities",
    "gradients",
    "gradient_histogram",
    slots_first,
    (
        Column("grad_sparsity", "1", "share of elements that are exactly 0", GRADIENT),
        Column("grad_near_sparsity", "1", "share with |g| < 2^(floor(log2 rms) - 10)", GRADIENT),
        Column("grad_nonfinite", "elements", "count of NaN and infinite elements", GRADIENT, type=pa.int64()),
    ),
    finish=sparsities,
)
GRADIENT_HISTOGRAM = Metric(
    "gradient_histogram", "gradients", "gradient_histogram", counts_of, table=HISTOGRAMS, label="gradient"
)
WEIGHT_HISTOGRAM = Metric(
    "weight_histogram",
    "weight_histograms",
    "weight_histogram",
    counts_of,
    table=HISTOGRAMS,
    label="weight",
    stride=10,
)
ACTIVATION_HISTOGRAM = Metric(
    "activation_histogram",
    "activation_histograms",
    "activation_histogram",
    counts_of,
    table=HISTOGRAMS,
    label="activation",
    stride=10,
    reducer=Reducer(reduce_histogram, merge_histograms),
)
