"""The budget of the background: whether the machine has a core and memory to spare for deferred metrics."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import torch

from probes.background.cores import leaves_cores_idle


@dataclass(frozen=True)
class Limits:
    """How much the background may use.

    Attributes:
        max_copied: Bytes of copies that wait for their metrics, all steps together.
        wake_copied: Bytes of copies from which on the worker computes at once. With fewer bytes it waits for more
            copies.
        max_waiting: Bytes of values that may wait to be written. Further records are left out.
        max_refused: Bytes of rows kept in memory while the store refuses them. Beyond that the rows are spilled.
        staleness: Seconds that a record may wait for others before it is written.
        eager: Seconds after the start during which records are written at once: a job that dies early leaves rows.
        idle: Whether training leaves a core idle now.
    """

    max_copied: int = 64 << 20
    wake_copied: int = 4 << 20
    max_waiting: int = 32 << 20
    max_refused: int = 32 << 20
    staleness: float = 1.0
    eager: float = 1.0
    idle: Callable[[], bool] = leaves_cores_idle


class Budget:
    """The memory that copies take, and the number of threads with which the worker computes.

    Attributes:
        limits: How much may be used.
        threads: The number of threads that torch uses in the training thread.
    """

    def __init__(self, limits: Limits = Limits()) -> None:
        self.limits = limits
        self.threads = torch.get_num_threads()
        self._lock = threading.Lock()
        self._taken = 0

    def take(self, nbytes: int, *, of_device: bool = False) -> bool:
        """Reserve memory for a snapshot; False where it does not fit, or where training leaves no core idle.

        It is called in the training thread, and notes torch's number of threads there.

        Args:
            nbytes: Bytes of the snapshot.
            of_device: Whether training computes on another device. The host then has a core to spare, and the worker
                uses one thread. A snapshot that is larger than the whole budget is then taken if no other copy waits.
        """
        self.threads = 1 if of_device else torch.get_num_threads()
        if not of_device and not self.limits.idle():
            return False
        with self._lock:
            room = self.limits.max_copied - self._taken
            if nbytes > room and (self._taken or not of_device):
                return False
            self._taken += nbytes
            return True

    def give_back(self, nbytes: int) -> None:
        """Return reserved memory."""
        with self._lock:
            self._taken -= nbytes

    @property
    def wakes(self) -> bool:
        """Whether enough copies wait for the worker to begin."""
        return self._taken >= self.limits.wake_copied
