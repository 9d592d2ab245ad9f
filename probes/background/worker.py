"""The worker: one thread that does a job at intervals, or sooner when it is woken."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch


class Worker:
    """A thread that does a job every ``interval`` seconds.

    The thread wakes rarely on its own, because each switch of threads delays a training with steps of a few
    milliseconds.

    Args:
        job: Called without arguments; it raises nothing.
        interval: Seconds between two calls.
        name: The name of the thread.
    """

    def __init__(self, job: Callable[[], None], *, interval: float, name: str) -> None:
        self._job, self._interval = job, interval
        self._changed = threading.Condition()
        self._woken = self._stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Do the job now, without waiting for the interval to pass."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def stop(self) -> None:
        """End the thread when the running job is done."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping:
            due = time.monotonic() + self._interval
            with self._changed:
                self._changed.wait_for(lambda: self._woken or self._stopping, timeout=due - time.monotonic())
                self._woken = False
            if not self._stopping:
                self._job()


_computing = threading.Lock()  # held while a library may hold locks of its own
_held_for_fork: list[bool] = []


@contextmanager
def computing(threads: int) -> Iterator[None]:
    """Compute with this number of torch threads, and let no fork happen meanwhile.

    A thread keeps the number of torch threads with which it started, whatever another thread sets for itself later.
    """
    with _computing:
        before = torch.get_num_threads()
        if before != threads:
            torch.set_num_threads(threads)
        try:
            yield
        finally:
            if before != threads:
                torch.set_num_threads(before)


def _before_fork() -> None:
    _held_for_fork.append(_computing.acquire())


def _after_fork() -> None:
    if _held_for_fork:  # empty if a signal has interrupted the wait for the lock
        _held_for_fork.pop()
        _computing.release()


if hasattr(os, "register_at_fork"):  # a library's lock that the worker holds would stay locked in the child
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
