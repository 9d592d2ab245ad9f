"""The l2 norm of many tensors, without loss of digits in long sums, underflow or overflow."""

from __future__ import annotations

import math
from itertools import islice

import torch
from torch import Tensor

from probes.metrics.flat import flat
from probes.metrics.foreach import norms
from probes.metrics.waiting import looks_wait

PIECE = 1 << 16  # elements summed in float32; torch's own norm loses 1e-5 of the length of longer tensors
_SAFE = (1e-15, 1e18)  # lengths whose squares float32 holds, with a margin for the spread of the elements


def l2_norms(tensors: list[Tensor]) -> Tensor:
    """Return ``sqrt(sum(x^2))`` of each tensor: ``(layers,)`` float64; NaN in, NaN out; no elements: 0.

    On the CPU, runs of 65,536 elements are summed in float32, and the sums of the runs in float64. If float32 cannot
    hold the squares, the length is computed again in float64: in float32 the squares of a gradient of 1e-20 are 0. On
    CUDA all sums are in float64, because a look at the value would wait for the device.
    """
    if looks_wait(tensors[0]):
        return torch.stack(norms(tensors, dtype=torch.float64))
    return torch.tensor(host_l2_norms(tensors), dtype=torch.float64)


def host_l2_norms(tensors: list[Tensor]) -> list[float]:
    """Return the same lengths as :func:`l2_norms`, for tensors on the CPU."""
    # Plain Python from here on: a dozen calls of NumPy take longer than the norms of a small network.
    owners = [_pieces(tensor) for tensor in tensors]
    pieces = [piece for own in owners for piece in own]
    lengths = torch.stack(norms(pieces)).tolist()
    for index, length in enumerate(lengths):
        if length < _SAFE[0] or length > _SAFE[1]:
            lengths[index] = torch.linalg.vector_norm(pieces[index], dtype=torch.float64).item()
    if len(pieces) == len(tensors):
        return lengths
    parts = iter(lengths)
    return [math.sqrt(sum(length * length for length in islice(parts, len(own)))) for own in owners]


def _pieces(tensor: Tensor) -> tuple[Tensor, ...]:
    return (tensor,) if tensor.numel() <= PIECE else flat(tensor).split(PIECE)
