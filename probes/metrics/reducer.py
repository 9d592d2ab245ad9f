"""Reducers: an activation, too large to keep, becomes a small vector that can be merged with others."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from probes.metrics.flat import PIECE, flat
from probes.metrics.waiting import looks_wait

_CACHED = 1 << 16  # elements whose float32 scratch memory stays in the cache


@dataclass(frozen=True)
class Reducer:
    """Reduces a tensor inside the hook that sees it, and merges the vectors of micro-batches and ranks.

    Attributes:
        reduce: ``reduce(tensor, channel_dim) -> vector``. It may not keep or change the tensor. The tensor is real,
            with samples first and at least one more dimension. ``channel_dim`` is 1 or more. With ``finish`` it may
            return an object of another type.
        merge: ``merge(vectors) -> vector``: from the vectors of several parts, ``(parts, size)``, the vector of the
            whole tensor. A vector of zeros belongs to a part without elements.
        of: The ``output`` of the layer, its ``input``, or ``output_gradient``: the gradient that arrives at the output
            in the backward pass.
        finish: ``finish(found) -> vectors``: called once a step with all results of ``reduce`` that are no tensors, of
            all layers and passes. It returns the vector of each, in the same order.
        head: Number of entries at the front that do not belong to a channel. If parts have different numbers of
            channels, as for a module that serves layers of different widths, only the head is merged. None: such parts
            cannot be merged.
    """

    reduce: Callable[[Tensor, int], Any]
    merge: Callable[[Tensor], Tensor]
    of: str = "output"
    finish: Callable[[Sequence[Any]], Sequence[Tensor]] | None = None
    head: int | None = None

    def whole(self, parts: Sequence[Tensor | Exception]) -> Tensor:
        """Return the vector of a tensor from those of its parts; only its head if the numbers of channels differ.

        Raises:
            Exception: The exception of a part that could not be reduced. The other parts are not the whole tensor.
        """
        vectors = [_unfailed(part) for part in parts]
        if len(vectors) == 1:
            return vectors[0]
        if self.head is not None and len({len(vector) for vector in vectors}) > 1:
            vectors = [vector[: self.head] for vector in vectors]
        return self.merge(torch.stack([vector.to(vectors[0].device) for vector in vectors]))

    def finished(self, found: Sequence[Any]) -> list[Tensor | Exception]:
        """Return the result of :attr:`finish` for each.

        If it raises, each is finished alone, and an exception takes the place of a result.
        """
        assert self.finish is not None
        try:
            return list(_checked(self.finish(found), len(found)))
        except Exception as failure:
            if len(found) == 1:
                return [failure]
        return [vector for each in found for vector in self.finished([each])]


def _unfailed(part: Tensor | Exception) -> Tensor:
    if isinstance(part, Exception):
        raise part
    return part


def _checked(vectors: Sequence[Tensor], count: int) -> Sequence[Tensor]:
    if len(vectors) != count:
        raise ValueError(
            f"finish returned {len(vectors)} vectors: expected {count}, one for each vector that it was given."
        )
    return vectors


def finish_together(
    begun: Sequence[Any], *, key: Callable[[Any], Hashable], finish: Callable[[list[Any]], Sequence[Tensor]]
) -> list[Tensor]:
    """Return the vectors of partial results, in their order.

    One call finishes all that have the same key.

    Args:
        begun: The partial results that ``reduce`` has returned.
        key: Returns the key, kind and device, which is the same for results that can be finished together.
        finish: Takes the partial results of one key, and returns their vectors in the same order.
    """
    groups: dict[Hashable, list[int]] = {}
    for place, each in enumerate(begun):
        groups.setdefault(key(each), []).append(place)
    vectors: dict[int, Tensor] = {}
    for places in groups.values():
        vectors.update(zip(places, finish([begun[place] for place in places]), strict=True))
    return [vectors[place] for place in range(len(begun))]


def pieces(tensor: Tensor) -> Iterator[Tensor]:
    """Yield a tensor in pieces of whole samples, of about ``PIECE`` elements."""
    samples = max(1, PIECE * len(tensor) // max(1, tensor.numel())) if tensor.ndim else 1
    yield from tensor.split(samples) if tensor.ndim else (tensor,)


def count(compare: Callable[..., Tensor], tensor: Tensor, value: float) -> Tensor:
    """Return the number of elements for which a comparison with a value holds: ``count(torch.eq, x, 0)``, float64.

    On the CPU it counts in float scratch memory that stays in the cache. This is three times as fast as
    ``count_nonzero`` of a mask. It is exact, because no piece has 2^24 elements.
    """
    if (
        tensor.device.type != "cpu"
        or looks_wait(tensor)
        or tensor.dtype not in {torch.float32, torch.float64}
        or not tensor.numel()
    ):
        return torch.count_nonzero(compare(tensor, value)).double()
    elements = flat(tensor)
    scratch = elements.new_empty(min(_CACHED, len(elements)))
    total = 0.0
    for piece in elements.split(_CACHED):
        total += compare(piece, value, out=scratch[: len(piece)]).sum().item()
    return torch.tensor(total, dtype=torch.float64)


def channels_last_rows(tensor: Tensor, channel_dim: int) -> Tensor | None:
    """Return the tensor as ``(rows, channels)`` without a copy, or None if its memory layout does not allow this."""
    moved = tensor.movedim(channel_dim, -1)
    return moved.reshape(-1, moved.shape[-1]) if moved.is_contiguous() else None


def channel_planes(tensor: Tensor, channel_dim: int) -> Tensor:
    """Return the tensor as ``(samples, channels, rest)``, without a copy if channels come before positions."""
    moved = tensor.movedim(channel_dim, 1) if tensor.ndim > 1 else tensor.reshape(1, -1)
    samples, channels = moved.shape[:2]
    return moved.reshape(samples, channels, math.prod(moved.shape[2:]))
