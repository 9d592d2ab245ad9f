"""Histograms over signed exponent bins, and the shares computed from them: sparsity, near-sparsity, non-finite.

The bins of :func:`probes.schema.bin_edges` are fixed. Counts therefore add exactly over steps, layers, ranks and runs,
and no pass over the data has to find a range first.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from probes.metrics.flat import batches, flat
from probes.metrics.l2_norm import l2_norms
from probes.metrics.metric import Metric
from probes.metrics.moments import GRADIENT
from probes.metrics.reducer import Reducer
from probes.metrics.rows import InRows
from probes.metrics.waiting import looks_wait
from probes.schema import HISTOGRAMS, Column, pa

MANTISSA_BITS = 1  # two bins an octave: 70 bytes for each layer and step in the store; one bin 44, four bins 115
OCTAVE = 1 << MANTISSA_BITS
HALF = 256 * OCTAVE  # bins of one sign, NaN and infinities in the last octave
SLOTS = 2 * HALF
_WIDTH = SLOTS + 1
_PIECE = 1 << 18  # elements counted at a time, 1 MB: they stay in a core's own cache
_LARGE = 1 << 16  # elements beyond which a separate pass for a tensor costs nothing
NEAR = 10
_ROUNDING = 2e-7  # octaves: the rounding of a length in float32
_NO_OCTAVE = -1000  # below the octave of any float64
_SHIFT = 23 - MANTISSA_BITS
_ON_DEVICE = 1 << 22  # elements counted at a time on a GPU; their slot indices take 32 MB
_LANES = 32  # tables for each tensor on a GPU: one for each thread that runs at the same time


def exponent_counts(tensors: list[Tensor]) -> Tensor:
    """Return each tensor's counts over all signed exponent bins, then its exact zeros: ``(layers, SLOTS + 1)`` int64.

    Slot ``s < HALF`` counts the negative numbers of bin ``-1 - s``. Slot ``HALF + i`` counts the positive numbers of
    bin ``i``. NaN and infinities are in the last octave of each half. Every element is in exactly one slot, and the
    exact zeros are counted again in the last entry. Tensors wider than float32 are rounded to float32. No elements give
    zeros. Source: IEEE 754, whose sign and exponent bits are the bin number.
    """
    if looks_wait(tensors[0]):
        return _counts_on_device(tensors)
    flats = [flat(tensor if tensor.dtype == torch.float32 else tensor.float()) for tensor in tensors]
    sizes = tuple(map(len, flats))
    counted = [_count(flats[first:last], sizes[first:last]) for first, last in batches(sizes, _PIECE)]
    counts = counted[0] if len(counted) == 1 else torch.cat(counted)
    _count_zeros(flats, counts)
    return counts


def exponent_histograms(tensors: list[Tensor]) -> Tensor:
    """Return each tensor's :func:`exponent_counts`, then the bits of its l2 norm: ``(layers, SLOTS + 2)`` int64.

    The float64 norm is stored as the integer with the same 64 bits. :func:`rms_octaves` reads it.
    """
    return torch.cat([exponent_counts(tensors), l2_norms(tensors).view(torch.int64)[:, None]], dim=1)


@np.errstate(divide="ignore", invalid="ignore", over="ignore")
def rms_octaves(l2_norm_bits: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Return ``floor(log2 rms)``, with ``rms^2 = sum(x^2) / n``; ``_NO_OCTAVE`` if the rms is 0 or not finite.

    Args:
        l2_norm_bits: The last entry of :func:`exponent_histograms`, int64.
        n: The number of elements, of the same shape.
    """
    lengths = np.ascontiguousarray(l2_norm_bits).view(np.float64)
    # The rms of elements that all equal one power of two may be rounded to just below that power.
    octaves = np.floor(np.log2(lengths) - np.log2(n) / 2 + _ROUNDING)
    return np.where(np.isfinite(octaves), octaves, _NO_OCTAVE).astype(np.int64)


def _count(flats: list[Tensor], sizes: tuple[int, ...]) -> Tensor:
    """Count the slots of some tensors: ``(tensors, SLOTS + 1)``, with 0 in the last entry."""
    if len(flats) == 1:
        counts = [
            _bincount((piece.view(torch.int32) >> _SHIFT).add_(_offset(0)), 1) for piece in flats[0].split(_PIECE)
        ]
        return counts[0] if len(counts) == 1 else torch.stack(counts).sum(0)
    slots = torch.cat(flats).view(torch.int32)
    slots >>= _SHIFT
    if len(slots) < _LARGE * len(flats):
        # 199 small tensors take 0.8 ms one at a time and 0.15 ms in one pass. Large tensors would gain nothing.
        slots += _remembered_offsets(sizes, slots.device)
    else:
        for index, part in enumerate(slots.split(sizes)):
            part.add_(_offset(index))
    return _bincount(slots, len(sizes))


def _offset(index: int) -> int:
    """Return the number to add to the shifted bits of one of several tensors to index one table."""
    # After the shift, negative floats are 2 HALF below their magnitude's bin: adding HALF orders all slots.
    return _WIDTH * index + HALF


@lru_cache(maxsize=8)  # 1 MB each
def _remembered_offsets(sizes: tuple[int, ...], device: torch.device) -> Tensor:
    offsets = torch.empty(sum(sizes), dtype=torch.int32, device=device)
    for index, part in enumerate(offsets.split(sizes)):
        part.fill_(_offset(index))
    return offsets


def _bincount(slots: Tensor, tensors: int) -> Tensor:
    return torch.bincount(slots, minlength=_WIDTH * tensors).view(tensors, _WIDTH)


def _count_zeros(flats: list[Tensor], counts: Tensor) -> None:
    """Count the zeros into the last entries.

    Zeros share bins 0 and -1 with subnormal numbers: if both are empty, there are none.
    """
    candidates = zip(counts[:, 0].tolist(), counts[:, HALF].tolist(), strict=True)
    for index, (below, above) in enumerate(candidates):
        if below or above:
            counts[index, SLOTS] = len(flats[index]) - torch.count_nonzero(flats[index])


def _counts_on_device(tensors: list[Tensor]) -> Tensor:
    """Count all tensors with a few calls. torch's bincount would wait for the device to know the number of bins."""
    device = tensors[0].device
    counts = torch.zeros(len(tensors), _WIDTH, dtype=torch.int64, device=device)
    singles = [tensor if tensor.dtype == torch.float32 else tensor.float() for tensor in tensors]
    for rows in InRows(singles, at_once=_ON_DEVICE):
        layout = rows.layout
        # Neighbouring threads count in separate tables: the numbers of a network are alike, and threads that add to the
        # same slot wait for each other.
        lanes = torch.arange(rows.values.shape[1], device=device) % _LANES * _WIDTH + HALF
        slots = (rows.values.view(torch.int32) >> _SHIFT).long()
        slots += layout.places.unsqueeze(1) * (_LANES * _WIDTH)
        slots += lanes
        tables = torch.zeros(len(layout.members) * _LANES * _WIDTH, dtype=torch.int32, device=device)
        tables.scatter_add_(0, slots.view(-1), tables.new_ones(1).expand(slots.numel()))
        own = tables.view(-1, _LANES, _WIDTH).sum(1)
        nonzero = own.new_zeros(len(own)).index_add_(0, layout.places, torch.count_nonzero(rows.values, dim=1))
        own[:, HALF] -= layout.padding
        own[:, SLOTS] = own.sum(1) - nonzero
        counts.index_add_(0, layout.members, own)
    return counts


def sparsities(histograms: np.ndarray) -> np.ndarray:
    """Return sparsity, near-sparsity and the non-finite count, ``(3, layers)``, from ``(SLOTS + 2, layers)``.

    Sparsity is the share of elements that are exactly 0. Near-sparsity is the share below ``2^(floor(log2 rms) - 10)``
    in magnitude, zeros included: about a thousandth of the root mean square, ``rms^2 = sum(x^2) / n``, whose octave is
    :func:`rms_octaves`. If an element is NaN or infinite, near-sparsity is NaN. No elements give NaN for both shares.
    If all elements are zero, both shares are 1.
    """
    bins = occupied_bins(histograms)
    magnitudes = histograms[:bins] + histograms[HALF : HALF + bins]
    octaves = magnitudes.reshape(bins // OCTAVE, OCTAVE, *magnitudes.shape[1:]).sum(axis=1)  # (octaves, layers)
    nonfinite = histograms[HALF - OCTAVE : HALF].sum(axis=0) + histograms[SLOTS - OCTAVE : SLOTS].sum(axis=0)
    n = octaves.sum(axis=0) + nonfinite
    with np.errstate(divide="ignore", invalid="ignore"):
        near = np.where(nonfinite > 0, np.nan, _near(octaves, rms_octaves(histograms[SLOTS + 1], n)) / n)
        return np.stack([histograms[SLOTS] / n, near, nonfinite])


def occupied_bins(histograms: np.ndarray) -> int:
    """Return the number of bins of one sign, in whole octaves, that hold all finite numbers of ``(SLOTS + 1, ...)``.

    Numbers in a network are rarely above 1, so at least half of the bins can be skipped.
    """
    occupied = np.any(histograms[:SLOTS].reshape(2, HALF, -1), axis=(0, 2))
    filled = np.flatnonzero(occupied[: HALF - OCTAVE])
    return OCTAVE * (1 + int(filled[-1]) // OCTAVE) if filled.size else OCTAVE


def _near(octaves: np.ndarray, of_rms: np.ndarray) -> np.ndarray:
    """Count the elements below the threshold, from the counts by biased exponent from 0 on: ``(octaves, layers)``."""
    exponents = np.arange(len(octaves)).reshape(-1, *[1] * (octaves.ndim - 1))
    threshold = np.clip(of_rms - NEAR + 127, 1, 254)  # octave 0 holds zeros and subnormals
    return np.where(exponents < threshold, octaves, 0).sum(axis=0)


def reduce_histogram(activation: Tensor, channel_dim: int) -> Tensor:  # noqa: ARG001 - a reducer is told it
    """Return one tensor's histogram, a row of :func:`exponent_counts`."""
    return exponent_counts([activation])[0]


def merge_histograms(histograms: Tensor) -> Tensor:
    """Return the histogram of all parts together, ``(parts, SLOTS + 1) -> (SLOTS + 1,)``: counts add exactly."""
    return histograms.sum(0).long()


def as_columns(histograms: Tensor | list[Tensor]) -> Tensor:
    """Return the histograms of some layers as columns of one table, ``(SLOTS + 1, layers)``."""
    return _table(histograms)[:, : SLOTS + 1].mT


def with_l2_norms(histograms: Tensor | list[Tensor]) -> Tensor:
    """Return histograms with the l2 norms as columns of one table, ``(SLOTS + 2, layers)``."""
    return _table(histograms).mT


def _table(histograms: Tensor | list[Tensor]) -> Tensor:
    return histograms if isinstance(histograms, Tensor) else torch.stack(histograms)


GRADIENT_SPARSITIES = Metric(
    "grad_sparsities",
    "gradients",
    "gradient_histogram",
    with_l2_norms,
    (
        Column("grad_sparsity", "1", "share of elements that are exactly 0", GRADIENT),
        Column("grad_near_sparsity", "1", "share with |g| < 2^(floor(log2 rms) - 10), rms^2 = sum(g^2) / n", GRADIENT),
        Column("grad_nonfinite", "elements", "count of NaN and infinite elements", GRADIENT, type=pa.int64()),
    ),
    finish=sparsities,
)
GRADIENT_HISTOGRAM = Metric(
    "gradient_histogram", "gradients", "gradient_histogram", as_columns, table=HISTOGRAMS, label="gradient"
)
WEIGHT_HISTOGRAM = Metric(
    "weight_histogram",
    "weight_histograms",
    "weight_histogram",
    as_columns,
    table=HISTOGRAMS,
    label="weight",
    every_nth_record=10,
)
ACTIVATION_HISTOGRAM = Metric(
    "activation_histogram",
    "activation_histograms",
    "activation_histogram",
    as_columns,
    table=HISTOGRAMS,
    label="activation",
    every_nth_record=10,
    reducer=Reducer(reduce_histogram, merge_histograms),
)
