"""What was read of the layers at one step, set aside: metrics look at the copies when training has gone on."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import islice

from torch import Tensor

from probes.copies import Copies, can_be_copied
from probes.metrics.histogram import SLOTS
from probes.observation import MADE_OF, Observation, Reading

WORTH_COPYING = 4096  # elements a tensor, on average: of smaller ones another thread holds the interpreter as long
RESULT = 8 * (SLOTS + 1)  # bytes that a tensor may leave in results: its histogram


class SetAside:
    """Copies of what was read at one look.

    Attributes:
        nbytes: Memory the copies take, and at most the results of metrics that look at them.
        stride: More than the index of any layer.
        key: Equal for looks at which the same was read of the same layers.
    """

    def __init__(self, observation: Observation, readings: Mapping[str, Reading], nbytes: int) -> None:
        """Copy what was read, by source. The look itself is let go: it holds the tensors."""
        self.nbytes = nbytes
        self.layers, self.ranks, self.activations = observation.layers, observation.ranks, observation.activations
        self.stride = 1 + max(self.layers, default=0)
        self.indices = {source: reading.indices for source, reading in readings.items()}
        self.key = tuple((source, *indices) for source, indices in self.indices.items())
        self._copies = Copies(_tensors(readings))

    def readings(self) -> dict[str, Reading]:
        """Return what was read."""
        tensors = iter(self._copies.tensors())
        return {source: Reading(i, list(islice(tensors, len(i)))) for source, i in self.indices.items()}


def set_aside(observation: Observation, sources: Collection[str], *, room: int) -> SetAside | None:
    """Read and copy what sources are made of, keys of ``MADE_OF``.

    None if there is nothing to read, if some of it cannot be copied, if the tensors are too small to be worth it, or if
    that takes more than ``room`` bytes.
    """
    parts = dict.fromkeys(part for source in sources for part in MADE_OF[source])
    readings = {part: observation.read(part) for part in parts}
    tensors = _tensors(readings)
    size = sum(tensor.nbytes for tensor in tensors) + RESULT * len(tensors)
    if size > room or sum(map(Tensor.numel, tensors)) < WORTH_COPYING * max(1, len(tensors)):
        return None
    return SetAside(observation, readings, size) if all(map(can_be_copied, tensors)) else None


def _tensors(readings: Mapping[str, Reading]) -> list[Tensor]:
    return [tensor for reading in readings.values() for tensor in reading.tensors]


def look_at(asides: Sequence[SetAside]) -> Observation:
    """Return one look at what several looks with the same ``key``, that is, at the same layers, have set aside.

    Layer i of the k-th has index ``k stride + i``.
    """
    first = asides[0]
    layers = {k * first.stride + i: layer for k in range(len(asides)) for i, layer in first.layers.items()}
    readings: dict[str, Reading] = {source: Reading([], []) for source in first.indices}
    for k, aside in enumerate(asides):
        for source, (indices, tensors) in aside.readings().items():
            readings[source].indices.extend(k * first.stride + i for i in indices)
            readings[source].tensors.extend(tensors)
    return Observation(layers, ranks=first.ranks, activations=first.activations, readings=readings)
