"""Tensors of one step copied side by side into one piece of memory, so that metrics can look at them later."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import starmap

import torch
from torch import Tensor

from probes.metrics.flat import flat


class Copies:
    """Copies of float32 tensors on the CPU, made by one call whatever their number.

    Between two training steps a call costs more than the copying of a small network. Views of the copies are not made
    before somebody wants to see them.
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        """Copy the tensors."""
        self._layouts = [_layout(tensor) for tensor in tensors]
        self._memory = torch.cat([flat(tensor) for tensor in tensors])

    @property
    def nbytes(self) -> int:
        """Memory the copies take."""
        return self._memory.nbytes

    def tensors(self) -> list[Tensor]:
        """Return the copies, each laid out in memory as the tensor it is of."""
        parts = self._memory.split([shape.numel() for shape, _ in self._layouts])
        return list(starmap(_laid_out, zip(parts, self._layouts, strict=True)))


Layout = tuple[torch.Size, bool]


def _layout(tensor: Tensor) -> Layout:
    """Return shape, and whether :func:`flat` goes through the memory in channels-last order."""
    last = not tensor.is_contiguous() and tensor.ndim == 4
    return tensor.shape, last and tensor.is_contiguous(memory_format=torch.channels_last)


def _laid_out(part: Tensor, layout: Layout) -> Tensor:
    shape, channels_last = layout
    if not channels_last:
        return part.view(shape)
    return part.view(shape[0], *shape[2:], shape[1]).permute(0, 3, 1, 2)
