"""A mirror: shows the rows of a probe in another tool, in a separate thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Protocol

import pyarrow as pa

from probes.mirrors.table_rows import StepValues, values_of

MOST_WAITING = 1000  # steps, or blocks of steps; beyond it the oldest are dropped, because the store has them
LAST_SECONDS = 30.0  # longest wait for a screen at the end of a run
_PAUSE = 0.5  # seconds until a screen that takes no step now is asked again


class Screen(Protocol):
    """The tool of a mirror, as the mirror sees it."""

    def show(self, values: StepValues, *, newer: int) -> bool:
        """Show a step; False if it cannot be shown now.

        ``newer`` is the number of newer steps that wait.
        """

    def close(self, rest: list[StepValues]) -> None:
        """Show the steps that are left, and end."""


class Mirror:
    """An observer of a probe that passes each step to a screen.

    It takes tables in the writer's thread and returns at once. A separate thread shows them. If a screen raises, the
    step is not shown, and the next call raises the exception.

    Args:
        name: The name of the tool, for messages.
        open_screen: Opens the screen of a run, in the mirror's thread, when there is a step to show.
    """

    def __init__(self, name: str, open_screen: Callable[[str], Screen]) -> None:
        self._name, self._open_screen = name, open_screen
        self._tables: deque[Mapping[str, pa.Table]] = deque()
        self._waiting: dict[int, StepValues] = {}  # by step, oldest first
        self._screen: Screen | None = None
        self._failure: Exception | None = None
        self._dropped = 0
        self._run_id = ""
        self._changed = threading.Condition()
        self._closing = False
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"mirror {self._name!r}"

    def begin(self, run: str) -> None:
        """Take the id of the run."""
        self._run_id = run

    def __call__(self, tables: Mapping[str, pa.Table]) -> None:
        """Take the tables of one or more steps.

        Raises:
            Exception: The exception that the screen has raised since the last call.
        """
        with self._changed:
            self._tables.append(tables)
            if len(self._tables) > MOST_WAITING:  # the screen hangs
                self._tables.popleft()
                self._dropped += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=f"probe-{self._name}", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        self._raise()

    def close(self) -> None:
        """Show the records that wait, for half a minute at most, then end.

        Raises:
            TimeoutError: The screen has not taken all records by then.
            RuntimeError: Steps were dropped, because the screen took them too slowly.
            Exception: The exception that the screen has raised.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(LAST_SECONDS)
            if self._thread.is_alive():
                raise TimeoutError(f"{self._name} has not taken the last steps within {LAST_SECONDS:.0f} s")
        self._raise()
        if self._dropped:
            raise RuntimeError(f"{self._dropped} steps are not in {self._name}, which took them too slowly")

    def _raise(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _run(self) -> None:
        while not self._closing:
            self._try(self._show_waiting)
            pause = _PAUSE if self._waiting else None
            with self._changed:
                self._changed.wait_for(lambda: self._tables or self._closing, timeout=pause)
        self._try(self._show_last)

    def _try(self, show: Callable[[], None]) -> None:
        try:
            show()
        except Exception as failure:
            self._failure = failure

    def _show_waiting(self) -> None:
        self._take_tables()
        if self._waiting and self._screen is None:
            try:
                self._screen = self._open_screen(self._run_id)
            except Exception:
                self._waiting.clear()
                raise
        if self._screen is None:
            return
        for step in list(self._waiting):
            values = self._waiting.pop(step)  # a step that raises is not tried again
            if not self._screen.show(values, newer=len(self._waiting)):
                self._waiting = {step: values, **self._waiting}
                return

    def _show_last(self) -> None:
        try:
            self._show_waiting()
        finally:
            if self._screen is not None:
                self._screen.close(list(self._waiting.values()))

    def _take_tables(self) -> None:
        while self._tables:
            for values in values_of(self._tables.popleft()):
                waiting = self._waiting.setdefault(values.step, values)
                waiting.scalars.update(values.scalars)
                waiting.histograms.update(values.histograms)
        for step in list(self._waiting)[:-MOST_WAITING]:
            del self._waiting[step]
            self._dropped += 1
