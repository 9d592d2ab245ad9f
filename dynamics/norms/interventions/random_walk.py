"""A shift that is a random walk: drift of a chosen speed without a direction."""

from __future__ import annotations

import hashlib
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from dynamics.norms.interventions.shift import Shift


class RandomWalk(Shift):
    """``m(t) = deviation * (e_1 + ... + e_t)``, e normal with standard deviation ``size``, independent in each channel.

    After t steps the root mean square of m is ``size * sqrt(t)`` deviations. The walk depends only on the run's seed,
    the layer's name and the step, so that a resumed run continues it.

    Args:
        num_features: Channels.
        size: Standard deviation of a step, in deviations of the channel.
    """

    learned: ClassVar[bool] = False
    in_deviations: ClassVar[bool] = True
    position: Tensor
    forwards: Tensor

    def __init__(self, num_features: int, size: float) -> None:
        super().__init__()
        self.size, self._key = size, 0
        self.register_buffer("position", torch.zeros(num_features))
        self.register_buffer("forwards", torch.zeros((), dtype=torch.int64))

    def bind(self, layer: str, seed: int) -> None:
        """Derive the layer's own random stream from its name and the seed."""
        self._key = int.from_bytes(hashlib.sha256(repr((seed, "walk", layer)).encode()).digest()[:8], "big")

    def values(self, deviation: Tensor) -> Tensor:
        """Return the walk's present value times the deviation."""
        return self.position * deviation

    def advance(self) -> None:
        """Take a step."""
        stream = np.random.default_rng((self._key, int(self.forwards)))
        step = torch.from_numpy(stream.standard_normal(len(self.position)))
        self.position += self.size * step.to(self.position)
        self.forwards += 1

    def extra_repr(self) -> str:
        """Return the settings that ``repr`` shows."""
        return f"{len(self.position)}, size={self.size}"
