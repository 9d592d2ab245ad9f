"""Progress display: one bar per run on a terminal, one line per score elsewhere. Warnings are one line too."""

from __future__ import annotations

import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column

from dynamics.runtime.events import Began, Ended, Event, Failed, Noted, Scored, Stepped, Watch, unwatched
from probes.schema.printable import one_line, printable


@contextmanager
def watching(
    console: Console | None = None, *, speaks: bool = True, store: object = "", go_on: str = ""
) -> Iterator[Watch]:
    """Show the progress of runs on the console during the block; the value is the ``watch`` argument of a run.

    Args:
        console: The console; None for standard output.
        speaks: Whether this process shows progress: true for one of the processes that train a run together.
        store: Store of the runs.
        go_on: The command that continues the runs, printed if Ctrl-C ends the block.
    """
    if not speaks:
        yield unwatched
        return
    try:
        with _display(console) as watch:
            yield watch
    except KeyboardInterrupt:
        if go_on:
            print(f"stopped: what was recorded is in {store}, whole and readable. Go on with: {go_on}", file=sys.stderr)
        raise


@contextmanager
def _display(console: Console | None) -> Iterator[Watch]:
    console = console or Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        yield Lines(console)
        return
    progress = Progress(
        TextColumn("[bold]{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
        BarColumn(bar_width=9),
        TextColumn("{task.fields[place]}", table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[loss]}", table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[scores]}", table_column=Column(no_wrap=True, overflow="ellipsis", max_width=44)),
        TimeRemainingColumn(compact=True),
        TextColumn("left"),
        console=console,
        expand=True,
    )
    with progress:
        yield Bars(progress)


def warn_in_one_line() -> None:
    """Print each warning of this process as one line, without its file and line number.

    If the environment variable ``MEANDRIFT_TRACEBACK`` is set, warnings keep Python's own format.
    """
    if not os.environ.get("MEANDRIFT_TRACEBACK"):
        warnings.formatwarning = _warning_line
        if not logging.getLogger("meandrift").handlers:
            logging.getLogger("meandrift").addHandler(_LogLines())


def _warning_line(message: Warning | str, *_: object, **__: object) -> str:
    return f"warning: {one_line(message, most=4000)}\n"


class _LogLines(logging.StreamHandler[TextIO]):
    """Prints each record of a log as one line on standard error."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return one_line(record.getMessage(), most=4000)


class Lines:
    """Prints a line when a run starts, at each of its scores and at its end."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._runs: dict[str, Began] = {}
        self._since: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        """Print the event, unless it is a step."""
        if isinstance(event, Began):
            self._runs[event.run], self._since[event.run] = event, time.monotonic()
            how = f"goes on at step {event.start:,}" if event.start else "begins"
            epochs = f"{event.epochs} epochs, " if event.epochs else ""
            self._console.print(f"{event.run} {how}: {epochs}{event.steps:,} steps")
        elif isinstance(event, Scored):
            place, seconds = _place(self._runs[event.run], event), time.monotonic() - self._since[event.run]
            self._console.print(f"{event.run} {place}: {_worded(event.scores)}, {seconds:.0f} s")
        elif (verdict := _verdict(event)) is not None:
            self._console.print(printable(verdict), markup=False)


class Bars:
    """Shows a bar for each run, with epoch or step, loss, scores and remaining time."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._runs: dict[str, Began] = {}
        self._bars: dict[str, TaskID] = {}

    def __call__(self, event: Event) -> None:
        """Move the run's bar."""
        if isinstance(event, Began):
            self._runs[event.run] = event
            begun = Stepped(event.run, event.start)
            self._bars[event.run] = self._progress.add_task(
                event.run, total=event.steps, completed=event.start, place=_place(event, begun), loss="", scores=""
            )
        elif isinstance(event, Stepped):
            bar, place = self._bars[event.run], _place(self._runs[event.run], event)
            loss = "" if event.loss is None else f"loss {event.loss:.4f}"
            self._progress.update(bar, completed=event.steps, place=place, loss=loss)
        elif isinstance(event, Scored):
            self._progress.update(self._bars[event.run], scores=_in_short(event.scores))
        elif (verdict := _verdict(event)) is not None:
            self._progress.console.print(printable(verdict), markup=False)


def _place(run: Began, now: Stepped | Scored) -> str:
    """Return the progress of a run in words: epochs if the run counts them, else steps."""
    if run.epochs:
        return f"epoch {'-' if now.epoch is None else now.epoch + 1}/{run.epochs}"
    return f"step {now.steps:,}/{run.steps:,}"


def _worded(scores: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {_formatted(name, value)}" for name, value in scores.items())


def _in_short(scores: Mapping[str, float]) -> str:
    """Return the scores in short form, for a bar: without losses, which have a column of their own."""
    shown = [(name, _formatted(name, value)) for name, value in scores.items() if not name.endswith("loss")]
    return ", ".join(f"{name.removesuffix(' accuracy')} {value}" for name, value in shown)


def _formatted(name: str, value: float) -> str:
    if name.endswith("accuracy"):
        return f"{value:.2%}"
    return f"{value:.4f}" if name.endswith("loss") else f"{value:.4g}"


def _verdict(event: Event) -> str | None:
    if isinstance(event, Noted):
        return f"{event.run} {event.text}"
    if isinstance(event, Failed):
        return f"{event.run} failed: {event.reason}"
    if isinstance(event, Ended) and event.diverged:
        return f"{event.run} diverged: its loss is not finite at step {event.steps:,}; the run ends there"
    if isinstance(event, Ended):
        return f"{event.run} finished: {event.steps:,} steps, {event.seconds:.0f} s"
    return None
