"""A shift that repeats the channel means of another run: the drift of that run, put into a network that is centred."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from dynamics.norms.interventions.shift import Shift

STEPS = "steps"  # the array with the numbers of the training forwards at which the means were recorded


class ReplayedMeans(Shift):
    """``m(t)`` = the running mean of the same channel in another run at step t, interpolated between its records.

    After the other run's last record m stays constant.

    Args:
        num_features: Channels.
        file: An ``.npz`` file of ``--save-means``: ``steps``, ``(records,)``, and for each layer by its name the means,
            ``(records, C)``.

    Raises:
        ValueError: The file is missing, was not written by ``--save-means``, or has no means of this layer.
    """

    learned: ClassVar[bool] = False
    forwards: Tensor

    def __init__(self, num_features: int, file: str) -> None:
        super().__init__()
        if not Path(file).is_file():
            raise ValueError(f"channel_mean replay:{file}: no such file. Train the run that writes it first.")
        self.num_features, self.file = num_features, file
        self.register_buffer("forwards", torch.zeros((), dtype=torch.int64))
        self._steps, self._means = np.zeros(0), np.zeros((0, num_features))

    def bind(self, layer: str, seed: int) -> None:
        """Read the means of the layer of that name."""
        del seed  # unused: the file fixes the means
        with np.load(self.file, allow_pickle=False) as arrays:
            if STEPS not in arrays or layer not in arrays:
                have = ", ".join(name for name in arrays.files if name != STEPS) or "no layer"
                raise ValueError(f"channel_mean replay:{self.file}: expected means of {layer!r}, there are {have}.")
            self._steps, self._means = arrays[STEPS].astype("float64"), arrays[layer].astype("float64")
        if self._means.shape != (len(self._steps), self.num_features):
            raise ValueError(
                f"channel_mean replay:{self.file}: {layer!r} has means of shape {self._means.shape}; expected "
                f"({len(self._steps)}, {self.num_features})."
            )

    def values(self, deviation: Tensor) -> Tensor:
        """Return the other run's means at the present step."""
        time = float(self.forwards)
        last = len(self._steps) - 1
        place = float(np.interp(time, self._steps, np.arange(last + 1)))
        below = min(int(place), max(last - 1, 0))
        share = place - below
        means = (1 - share) * self._means[below] + share * self._means[min(below + 1, last)]
        return torch.as_tensor(means, dtype=deviation.dtype, device=deviation.device)

    def advance(self) -> None:
        """Count a training forward."""
        self.forwards += 1

    def extra_repr(self) -> str:
        """Return the settings that ``repr`` shows."""
        return f"{self.num_features}, {self.file!r}"
