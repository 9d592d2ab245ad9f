"""The open probes of this process.

Each is closed when the process ends, or when another probe takes over its run.
"""

from __future__ import annotations

import atexit
import os
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from probes.recording.opening.exit_status import exit_status
from probes.recording.opening.termination import Termination


class Closes(Protocol):
    """A probe, or the open run of one."""

    def close(self, status: str) -> None:
        """Close with a status.

        A second call does nothing.
        """


@dataclass(frozen=True)
class _Entry:
    """A probe and its run. The reference to the probe is weak, so that probe and model can be freed."""

    probe: weakref.ref[Closes]
    run: Closes
    place: Path

    def close(self, status: str) -> None:
        """Close the probe, which removes its hooks. If the probe has been freed, close its run."""
        (self.probe() or self.run).close(status)


class OpenProbes:
    """The probes of this process that nobody has closed.

    They are closed when the process ends: see :func:`exit_status`.

    SIGTERM closes them too: see :class:`probes.recording.opening.termination.Termination`.

    A forked child has no open probes, because they belong to its parent.
    """

    def __init__(self) -> None:
        self._entries: list[_Entry] = []
        self._at_exit = False
        self._termination = Termination(lambda: self._close(self._entries[::-1], "interrupted"))
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._entries.clear)

    def add(self, probe: Closes, run: Closes, place: Path) -> None:
        """Add a probe, its open run, and the path of the run: equal paths mean the same run."""
        if not self._at_exit:
            self._at_exit = True
            atexit.register(self.close_all)
        self._entries.append(_Entry(weakref.ref(probe), run, place))
        self._termination.heed()

    def remove(self, run: Closes) -> None:
        """Forget the probe of a run: it is closed."""
        self._entries[:] = [entry for entry in self._entries if entry.run is not run]
        if not self._entries:
            self._termination.ignore()

    def close_forgotten(self) -> None:
        """Close the runs whose probes are gone: model and probe were freed, and nobody closed the probe."""
        self._close([entry for entry in self._entries if entry.probe() is None])

    def close_at(self, place: Path) -> None:
        """Close the probe of the run at this path, if this process has one."""
        self._close([entry for entry in self._entries if entry.place == place])

    def close_all(self) -> None:
        """Close every probe, the newest first."""
        self._close(self._entries[::-1], exit_status())

    def _close(self, entries: list[_Entry], status: str = "interrupted") -> None:
        for entry in entries:
            try:
                entry.close(status)
            finally:
                self.remove(entry.run)


OPEN_PROBES = OpenProbes()
