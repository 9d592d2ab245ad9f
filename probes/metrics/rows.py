"""Many tensors as the rows of one matrix, so that the number of calls does not depend on the number of tensors.

On a GPU a call takes about 10 us to launch, and less to compute. Ten calls for each of 60 tensors take 6 ms. Ten calls
for all tensors together take 0.1 ms.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from probes.metrics.flat import flat
from probes.metrics.foreach import copy_into

WIDTH = 1024  # elements of a row
MOST_ELEMENTS = 1 << 23  # in rows at a time: 32 MB, and twice that in float64
MOST_TENSORS = 128  # in rows at a time: the numbers kept for each tensor then take little memory beside the elements


@dataclass(frozen=True)
class Layout:
    """The tensors and elements that the rows hold.

    Attributes:
        pieces: Tensor, first element and number of elements of each run of rows.
        lengths: The number of elements of each piece, each followed by the number of zeros that fill up its last row.
        members: The tensors that have a row, ``(members,)``.
        owners: The tensor of each row, ``(rows,)``.
        places: The index of that tensor in ``members``, ``(rows,)``.
        padding: Number of entries after the end of each member that are filled with 0, ``(members,)``.
        ragged: The rows that end with such entries.
        valid: True where those rows hold elements, ``(ragged, WIDTH)``.
    """

    pieces: tuple[tuple[int, int, int], ...]
    lengths: list[int]
    members: Tensor
    owners: Tensor
    places: Tensor
    padding: Tensor
    ragged: Tensor
    valid: Tensor


@dataclass(frozen=True)
class Rows:
    """Some tensors in rows.

    Attributes:
        values: The elements, ``(rows, WIDTH)``, with zeros after the end of each tensor. They must not be changed.
        layout: The tensor and the element at each position of the rows.
    """

    values: Tensor
    layout: Layout

    def add_to(self, totals: Tensor, of_rows: Tensor) -> None:
        """Add the number of each row, ``(rows,)``, to the total of its tensor, ``(tensors,)``."""
        totals.index_add_(0, self.layout.owners, of_rows.to(totals.dtype))

    def of_rows(self, numbers: Tensor) -> Tensor:
        """Return for each row the number of its tensor, ``(tensors,) -> (rows, 1)``, in the type of the elements."""
        return numbers.to(self.values.dtype).index_select(0, self.layout.owners).unsqueeze(1)

    def squares_about(self, centres: Tensor) -> Tensor:
        """Return ``sum((x - c)^2)`` over each row, ``(rows,)`` float64; ``c``, ``(tensors,)``, is its tensor's."""
        apart = self.values - self.of_rows(centres)
        ragged = self.layout.ragged
        ends = torch.where(self.layout.valid, apart.index_select(0, ragged), 0.0)
        apart.index_copy_(0, ragged, ends)
        return apart.double().square_().sum(1)


class InRows:
    """Tensors in rows, a limited number at a time to save memory.

    The object can be iterated more than once.

    Two objects whose tensors have the same sizes yield the same rows in the same order.
    """

    def __init__(self, tensors: Sequence[Tensor], *, at_once: int | None = None) -> None:
        """Lay out tensors of one device, whose elements are float32 or float64.

        Args:
            tensors: The tensors.
            at_once: Elements in rows at a time; the default is ``MOST_ELEMENTS``.
        """
        self._flats = [flat(tensor) for tensor in tensors]
        sizes = tuple(each.numel() for each in self._flats)
        self._layouts = _layouts(sizes, tensors[0].device, at_once or MOST_ELEMENTS)
        self._only: Rows | None = None

    def __iter__(self) -> Iterator[Rows]:
        if self._only is not None:
            yield self._only
            return
        for layout in self._layouts:
            rows = Rows(self._laid_out(layout), layout)
            if len(self._layouts) == 1:
                self._only = rows
            yield rows

    def _laid_out(self, layout: Layout) -> Tensor:
        whole = [self._flats[tensor] for tensor, _, _ in layout.pieces]
        parts = [
            each if each.numel() == length else each[first : first + length]
            for each, (_, first, length) in zip(whole, layout.pieces, strict=True)
        ]
        if len(parts) == 1 and not parts[0].numel() % WIDTH:
            return parts[0].view(-1, WIDTH)
        wide = any(part.dtype == torch.float64 for part in parts)
        values = parts[0].new_zeros(sum(layout.lengths), dtype=torch.float64 if wide else torch.float32)
        copy_into(values.split(layout.lengths)[::2], parts)
        return values.view(-1, WIDTH)


def sums(tensors: Sequence[Tensor]) -> Tensor:
    """Return the sum of each tensor's elements, ``(tensors,)`` float64; NaN in, NaN out; no elements: 0."""
    totals = torch.zeros(len(tensors), dtype=torch.float64, device=tensors[0].device)
    for rows in InRows(tensors):
        rows.add_to(totals, rows.values.sum(1, dtype=torch.float64))
    return totals


@lru_cache(maxsize=16)
def _layouts(sizes: tuple[int, ...], device: torch.device, most: int) -> tuple[Layout, ...]:
    return tuple(_layout(pieces, device) for pieces in _batches(sizes, most))


def _batches(sizes: Sequence[int], most: int) -> Iterator[list[tuple[int, int, int]]]:
    """Yield the pieces that are in rows together.

    A tensor that is too large is split into several pieces.
    """
    batch: list[tuple[int, int, int]] = []
    room = most
    for tensor, size in enumerate(sizes):
        for first in range(0, size, most):
            length = min(size - first, most)
            if batch and (length > room or len(batch) == MOST_TENSORS):
                yield batch
                batch, room = [], most
            batch.append((tensor, first, length))
            room -= -(-length // WIDTH) * WIDTH
    if batch:
        yield batch


def _layout(pieces: Sequence[tuple[int, int, int]], device: torch.device) -> Layout:
    tensors, _, lengths = np.array(pieces).T
    rows = -(-lengths // WIDTH)
    places = np.repeat(np.arange(len(pieces)), rows)
    filled = lengths - (rows - 1) * WIDTH  # entries of each piece's last row
    short = filled < WIDTH
    ragged = (np.cumsum(rows) - 1)[short]
    valid = np.arange(WIDTH) < filled[short, None]
    padding = rows * WIDTH - lengths
    parts = tensors, tensors[places], places, padding, ragged, valid
    on_device = [torch.from_numpy(part).to(device, non_blocking=True) for part in parts]
    return Layout(tuple(pieces), np.stack([lengths, padding], axis=1).ravel().tolist(), *on_device)
