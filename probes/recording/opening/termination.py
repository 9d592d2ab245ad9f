"""SIGTERM, which schedulers send before SIGKILL: the open probes are closed, and then the process ends as usual.

Only the default action is replaced, and only while a probe is open. A user's own handler, set before or later, stays as
it is. A process with such a handler does not end by the signal. If it ends by ``sys.exit`` or an exception, the probes
are closed as at any other end.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType

_OWN_CODE = str(Path(__file__).parents[2])  # the package `probes`
_AGAIN, _PATIENCE = 0.005, 10.0  # seconds until the signal is sent again, and limit of all such seconds


class Termination:
    """Calls ``close`` when SIGTERM comes, and lets the signal end the process then.

    The signal can interrupt the probe's own code while it holds a lock. The signal is then sent again every 5 ms, until
    the main thread is in other code or ``_PATIENCE`` is over.
    """

    def __init__(self, close: Callable[[], object]) -> None:
        self._close = close
        self._first: float | None = None
        self._own = self._handle  # kept, because each access makes a new bound method
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.ignore)

    def heed(self) -> None:
        """Handle SIGTERM from now on, unless a handler is set already. Python allows this in the main thread only."""
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, self._own)

    def ignore(self) -> None:
        """Restore the default action of SIGTERM, unless another handler has been set since."""
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is self._own:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if signal.getsignal(number) is not self._own:
            return  # called by a handler that was set later: that handler decides
        self._first = time.monotonic() if self._first is None else self._first
        if _in_own_code(frame) and time.monotonic() - self._first < _PATIENCE:
            again = threading.Timer(_AGAIN, os.kill, (os.getpid(), number))
            again.daemon = True
            again.start()
            return
        signal.signal(number, signal.SIG_DFL)  # a second SIGTERM ends the process at once
        with suppress(Exception):  # the failure can no longer be reported
            self._close()
        os.kill(os.getpid(), number)


def _in_own_code(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith(_OWN_CODE):
            return True
        frame = frame.f_back
    return False
