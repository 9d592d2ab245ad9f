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
        reduce: ``reduce(tensor, channel_dim) -> vector``; may not keep or change the tensor, which is real and has its
            samples first and at least one more dimension; ``channel_dim`` is 1 or more. With ``finish`` it may return
            anything else.
        merge: ``merge(vectors) -> vector``: of several, ``(parts, size)``, the vector that the whole would have given.
            A part of zeros is one that saw nothing.
        of: ``output`` of the layer, its ``input``, or ``output_gradient``: the gradient that arrives at the output in
            the backward pass.
        finish: ``finish(found) -> vectors``: called once a step with all that ``reduce`` has returned and that is no
            tensor, of all layers and passes; the vector of each, in that order.
        head: How many entries at the front do not belong to a channel. They alone are merged where parts have unlike
            numbers of channels, as a module has that serves layers of unlike widths. None: such parts cannot be merged.
    """

    reduce: Callable[[Tensor, int], Any]
    merge: Callable[[Tensor], Tensor]
    of: str = "output"
    finish: Callable[[Sequence[Any]], Sequence[Tensor]] | None = None
    head: int | None = None

    def whole(self, parts: Sequence[Tensor | Exception]) -> Tensor:
        """Return the vector of a tensor from those of its parts; its head alone if the parts differ in channels.

        Raises:
            Exception: What stands in the place of a part that could not be reduced: the others are not the whole.
        """
        vectors = [_unfailed(part) for part in parts]
        if len(vectors) == 1:
            return vectors[0]
        if self.head is not None and len({len(vector) for vector in vectors}) > 1:
            vectors = [vector[: self.head] for vector in vectors]
        return self.merge(torch.stack([vector.to(vectors[0].device) for vector in vectors]))

    def finished(self, found: Sequence[Any]) -> list[Tensor | Exception]:
        """Return the result of :attr:`finish` for each; if it raises, of each alone, an exception in its place."""
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
    """Return the vectors of what ``reduce`` began, in that order; those with the same key are finished by one call.

    Args:
        begun: What ``reduce`` has returned.
        key: What can be finished together has the same key: kind and device.
        finish: Takes those of one key, and returns their vectors in the same order.
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

    On the CPU in scratch memory of floats that stays in the cache: thrice as fast as ``count_nonzero`` of a mask, and
    exact, as no piece has 2^24 elements.
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
    """Return the tensor as ``(rows, channels)`` without a copy, where its memory is laid out so; else None."""
    moved = tensor.movedim(channel_dim, -1)
    return moved.reshape(-1, moved.shape[-1]) if moved.is_contiguous() else None


def channel_planes(tensor: Tensor, channel_dim: int) -> Tensor:
    """Return the tensor as ``(samples, channels, rest)``; without a copy where channels come before positions."""
    moved = tensor.movedim(channel_dim, 1) if tensor.ndim > 1 else tensor.reshape(1, -1)
    samples, channels = moved.shape[:2]
    return moved.reshape(samples, channels, math.prod(moved.shape[2:]))
