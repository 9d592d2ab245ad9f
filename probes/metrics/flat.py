"""Flat views of tensors, and batches of tensors of bounded size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

PIECE = 1 << 20  # elements processed at a time if scratch memory is needed


def flat(tensor: Tensor) -> Tensor:
    """Return all elements as one dimension, in any order.

    A tensor that is dense in channels-last order gives a view.
    """
    if tensor.is_contiguous():
        return tensor if tensor.ndim == 1 else tensor.view(-1)  # most of a network's tensors are vectors
    if tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
        return tensor.permute(0, 2, 3, 1).view(-1)
    return tensor.reshape(-1)


def batches(sizes: Sequence[int], limit: int = PIECE) -> Iterator[tuple[int, int]]:
    """Yield ranges of indices with at most ``limit`` elements together.

    A larger tensor has its own range.
    """
    first = elements = 0
    for index, size in enumerate(sizes):
        if index > first and elements + size > limit:
            yield first, index
            first, elements = index, 0
        elements += size
    if sizes:
        yield first, len(sizes)


def first_entries(tensor: Tensor, *, most: int) -> Tensor:
    """Return a view of a tensor with at most ``most`` entries: its first rows, or a part of the first row."""
    part = tensor
    while part.numel() > most:
        rows = most * len(part) // part.numel()
        part = part[:rows] if rows else part[0]
    return part
