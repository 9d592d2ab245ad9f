"""Runs before a person's eyes: a bar each on a terminal, a line an epoch elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column

from dynamics.runtime.events import Began, Ended, Event, Failed, Noted, Scored, Stepped, Watch, unwatched


@contextmanager
def watching(console: Console | None = None, *, speaks: bool = True) -> Iterator[Watch]:
    """Show runs on the console while the block lasts; the value is what they are to be watched with.

    Args:
        console: Where to; standard output unless told.
        speaks: False for all but one of the processes that train a run together.
    """
    if not speaks:
        yield unwatched
        return
    console = console or Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        yield Lines(console)
        return
    progress = Progress(
        TextColumn("[bold]{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
        BarColumn(bar_width=9),
        TextColumn("epoch {task.fields[epoch]}", table_column=Column(no_wrap=True)),
        TextColumn("loss {task.fields[loss]}", table_column=Column(no_wrap=True)),
        TextColumn("test {task.fields[accuracy]}", table_column=Column(no_wrap=True)),
        TimeRemainingColumn(compact=True),
        TextColumn("left"),
        console=console,
        expand=True,
    )
    with progress:
        yield Bars(progress)


class Lines:
    """Prints a line when a run begins, after each epoch and at the end."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._since: dict[str, float] = {}
        self._epochs: dict[str, int] = {}

    def __call__(self, event: Event) -> None:
        """Print what is worth a line."""
        if isinstance(event, Began):
            self._since[event.run], self._epochs[event.run] = time.monotonic(), event.epochs
            where = f"goes on at step {event.start:,}" if event.start else "begins"
            epochs = f"{event.epochs} epochs, " if event.epochs else ""
            self._console.print(f"{event.run} {where}: {epochs}{event.steps:,} steps")
        elif isinstance(event, Scored):
            self._console.print(
                f"{event.run} epoch {event.epoch + 1}/{self._epochs[event.run]}: test loss {event.loss:.4f}, "
                f"test accuracy {event.accuracy:.2%}, {time.monotonic() - self._since[event.run]:.0f} s"
            )
        elif (verdict := _verdict(event)) is not None:
            self._console.print(verdict)


class Bars:
    """Moves a bar for each run: epoch, loss, accuracy and the time left."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bars: dict[str, TaskID] = {}
        self._epochs: dict[str, int | str] = {}

    def __call__(self, event: Event) -> None:
        """Move the run's bar."""
        if isinstance(event, Began):
            self._epochs[event.run] = event.epochs or "-"
            self._bars[event.run] = self._progress.add_task(
                event.run,
                total=event.steps,
                completed=event.start,
                epoch=f"-/{self._epochs[event.run]}",
                loss="-",
                accuracy="-",
            )
        elif isinstance(event, Stepped):
            epoch = f"{event.epoch + 1}/{self._epochs[event.run]}"
            self._progress.update(self._bars[event.run], completed=event.steps, epoch=epoch, loss=f"{event.loss:.4f}")
        elif isinstance(event, Scored):
            self._progress.update(self._bars[event.run], accuracy=f"{event.accuracy:.2%}")
        elif (verdict := _verdict(event)) is not None:
            self._progress.console.print(verdict)


def _verdict(event: Event) -> str | None:
    if isinstance(event, Noted):
        return f"{event.run} {event.text}"
    if isinstance(event, Failed):
        return f"{event.run} failed: {event.reason}"
    if isinstance(event, Ended) and event.diverged:
        return f"{event.run} diverged: its loss is no finite number at step {event.steps:,}; the run ends there"
    if isinstance(event, Ended):
        return f"{event.run} finished: {event.steps:,} steps, {event.seconds:.0f} s"
    return None
