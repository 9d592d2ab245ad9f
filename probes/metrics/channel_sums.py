"""Sums over each channel of an activation on a GPU, by one kernel if Triton is available."""

from __future__ import annotations

import warnings
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor

from probes.metrics.reducer import channel_planes, channels_last_rows

_TYPES = {torch.float32, torch.float16, torch.bfloat16}
# There are few block sizes, because a kernel is compiled once for each size, in about half a second.
_LONG, _SHORT = 1024, 64  # entries of a block of one channel
_LONG_FROM = 256  # entries of a channel in a sample, from which on blocks are long
_ROWS, _CHANNELS = 16, 64  # of a block of several channels


class _Kernels:
    """The kernels, if they can be used here: Triton comes with torch on Linux, and needs a C compiler."""

    def __init__(self) -> None:
        self._found: ModuleType | None = None
        self._usable: bool | None = None  # None: not tried yet

    @property
    def usable(self) -> bool:
        if self._usable is None:
            try:
                from probes.metrics import channel_kernels

                self._found, self._usable = channel_kernels, True
            except ImportError:
                self._usable = False
        return self._usable

    def sums(self, activation: Tensor, channel_dim: int) -> Tensor | None:
        try:
            assert self._found is not None
            with torch.cuda.device(activation.device):
                return launch(self._found, activation, channel_dim)
        except torch.OutOfMemoryError:
            raise
        except Exception as failure:  # the compiler is missing or the GPU too old: torch's own calls take the place
            self._usable = False
            why = str(failure).splitlines()[:1] or [""]
            warnings.warn(
                f"probe: activations take several calls a layer on {activation.device}, and more time: Triton's kernel "
                f"could not be launched ({type(failure).__name__}: {why[0]}). The values are the same.",
                RuntimeWarning,
                stacklevel=2,
            )
            return None


_KERNELS = _Kernels()


class ChannelSums(NamedTuple):
    """Sums over each channel of an activation, in parts.

    Attributes:
        n: Entries of the activation.
        parts: ``(8, channels, parts)`` float64. The first number is ``k``, the first entry of the channel, or 0 if it
            is not finite; it is the same in all parts. ``sum(x - k)`` and ``sum((x - k)^2)`` follow, in float32 within
            a part. The next four are the counts of entries that are not finite, that are NaN, that are zero and with
            ``|x| > 3``. The last is the largest entry that is not NaN.
    """

    n: int
    parts: Tensor


def channel_sums(activation: Tensor, channel_dim: int) -> ChannelSums | None:
    """Return the sums over each channel, or None if there is no kernel for them.

    There is no kernel without Triton, outside CUDA, in float64, and for subclasses of Tensor.

    Args:
        activation: At least two dimensions, samples first, and not empty.
        channel_dim: The dimension of its channels, 1 or more.
    """
    fits = activation.is_cuda and activation.dtype in _TYPES and type(activation) is Tensor
    parts = _KERNELS.sums(activation, channel_dim) if fits and _KERNELS.usable else None
    return None if parts is None else ChannelSums(activation.numel(), parts)


def launch(kernels: ModuleType, activation: Tensor, channel_dim: int) -> Tensor:
    """Launch the kernel for an activation's memory layout.

    A layout without a kernel is copied.
    """
    groups = kernels.GROUPS.value
    channels = activation.shape[channel_dim]
    sums = torch.empty(kernels.NUMBERS, channels, groups, dtype=torch.float64, device=activation.device)
    rows = channels_last_rows(activation, channel_dim)
    if rows is not None:
        blocks = -(-channels // _CHANNELS), groups
        kernels.sum_rows[blocks](rows, sums, channels, len(rows), ROWS=_ROWS, CHANNELS=_CHANNELS)
    else:
        planes = channel_planes(activation, channel_dim).contiguous()
        samples, _, inner = planes.shape
        block = _LONG if inner > _LONG_FROM else _SHORT
        chunks = -(-inner // block)
        kernels.sum_planes[channels, groups](planes, sums, channels, inner, samples * chunks, chunks, BLOCK=block)
    return sums
