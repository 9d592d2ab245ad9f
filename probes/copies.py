"""Tensors copied side by side into one piece of memory, so that they can be looked at later."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from probes.metrics.flat import flat

_LINE = 16  # float32 numbers in 64 bytes; some sums depend, in the last digit, on where in such a line they begin
_GAPS = [torch.zeros(length) for length in range(_LINE)]


class Copies:
    """Copies of float32 tensors on the CPU, made by one call whatever their number.

    Between two training steps a call costs more than the copying of a small network. Views of the copies are not made
    before somebody looks at them. They have shape, layout and alignment of the tensors they are of, so that whatever is
    computed of them is the same, bit for bit.
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        """Copy the tensors, of each of which :func:`can_be_copied` is true."""
        self._layouts: list[tuple[torch.Size, bool]] = []  # shape, whether channels-last
        self._sizes: list[int] = []  # of a gap, of a copy, and so on
        pieces, end = [], 0
        for tensor in tensors:
            last, size = not tensor.is_contiguous(), tensor.numel()
            gap = (tensor.data_ptr() // 4 - end) % _LINE
            if gap:
                pieces.append(_GAPS[gap])
            pieces.append(flat(tensor))
            self._layouts.append((tensor.shape, last))
            self._sizes += [gap, size]
            end += gap + size
        self._memory = torch.cat(pieces)

    def tensors(self) -> list[Tensor]:
        """Return the copies."""
        parts = self._memory.split(self._sizes)[1::2]
        return [_laid_out(part, *layout) for part, layout in zip(parts, self._layouts, strict=True)]


def can_be_copied(tensor: Tensor) -> bool:
    """Whether a copy in one row of numbers can be given the layout of the tensor."""
    if tensor.dtype != torch.float32 or not tensor.is_cpu:
        return False
    return tensor.is_contiguous() or (tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last))


def _laid_out(part: Tensor, shape: torch.Size, channels_last: bool) -> Tensor:
    if not channels_last:
        return part.view(shape)
    return part.view(shape[0], *shape[2:], shape[1]).permute(0, 3, 1, 2)
