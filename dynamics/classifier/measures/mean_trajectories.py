"""The running mean of every channel during a training, in a file that another run can replay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from dynamics.norms.interventions.replayed_means import STEPS

EVERY = 10  # steps between two records, about the number of steps that a running mean averages over


class MeanTrajectories:
    """The running means of a network's norms at step 0 and at every tenth step.

    Args:
        model: The network.
        file: The ``.npz`` file: ``steps``, and for each norm by its name ``(records, C)``.
        start: Steps already taken. The records of a stopped run are read from the file, without those after its
            checkpoint.

    Raises:
        ValueError: No module of the network keeps a running mean, or the file's name does not end in ``.npz``.
    """

    def __init__(self, model: nn.Module, file: str, *, start: int) -> None:
        if not file.endswith(".npz"):
            raise ValueError(f"save_means {file!r}: expected the name of an .npz file.")
        self._means: dict[str, Tensor] = {
            name.rpartition(".")[0]: mean for name, mean in model.named_buffers() if name.endswith(".running_mean")
        }
        if not self._means:
            raise ValueError(
                "save_means: no norm of this network keeps a running mean; --centring none adds one that does."
            )
        self._file, self._steps = Path(file), [0]
        self._records: dict[str, list[np.ndarray]] = {name: [] for name in self._means}
        if start and self._file.is_file():
            self._read(start)
        else:
            self._record()

    def follow(self, done: int) -> None:
        """Record the means if a record is due after ``done`` steps."""
        if done % EVERY == 0:
            self._steps.append(done)
            self._record()

    def write(self) -> None:
        """Write the file atomically."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        partial = self._file.with_suffix(".partial.npz")
        arrays: dict[str, Any] = {name: np.array(means) for name, means in self._records.items()}
        arrays[STEPS] = np.array(self._steps)
        np.savez(partial, **arrays)
        partial.replace(self._file)

    def _record(self) -> None:
        for name, mean in self._means.items():
            self._records[name].append(mean.detach().cpu().numpy().copy())

    def _read(self, start: int) -> None:
        with np.load(self._file, allow_pickle=False) as arrays:
            kept = arrays[STEPS] <= start
            self._steps = arrays[STEPS][kept].tolist()
            for name in self._records:
                self._records[name] = list(arrays[name][kept])
