"""Many runs: a grid of configurations, each trained in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from dynamics.config import RunConfig
from dynamics.events import Ended, Event, Failed, Watch, unwatched
from dynamics.stored import Task


def grid(base: RunConfig, axes: Mapping[str, Sequence[Any]]) -> list[RunConfig]:
    """Return a configuration for each combination of settings; the last axis varies fastest.

    Args:
        base: The settings that all share.
        axes: The values of each setting that varies: ``{"norm": ["bn", "sn"], "seed": [0, 1]}``.

    Raises:
        ValueError: An axis is empty or names a value twice, or a combination is out of range.
    """
    for name, values in axes.items():
        if not values or len(set(values)) < len(values):
            raise ValueError(f"{name} {', '.join(map(str, values)) or '(empty)'}: expected values, each once.")
    return [replace(base, **dict(zip(axes, values, strict=True))) for values in product(*axes.values())]


def sweep(
    tasks: Sequence[Task],
    *,
    store: Path,
    data_dir: Path = Path("data"),
    download: bool = False,
    workers: int = 0,
    watch: Watch = unwatched,
) -> list[Ended | Failed]:
    """Train runs side by side, a process each; one that fails or is killed does not hold up the others.

    Ctrl-C, and SIGTERM, reach every run: each finishes its step and writes its checkpoint.

    Args:
        tasks: The runs; those that are done are left.
        store: Where to record. Each run writes a partition of its own.
        data_dir: Where data sets lie.
        download: Fetch them if they do not.
        workers: Processes at a time; 0: one for each CPU.
        watch: Is told of the progress of all.

    Returns:
        How each run that was to be trained ended, in the order of ``tasks``.

    Raises:
        ValueError: ``workers`` is negative.
        KeyboardInterrupt: Ctrl-C came; every checkpoint is written.
    """
    if workers < 0:
        raise ValueError(f"workers {workers}: expected 0 or more.")
    workers = workers or len(os.sched_getaffinity(0))
    waiting = deque(task for task in tasks if not task.done)
    running: dict[Connection, tuple[Task, BaseProcess]] = {}
    ends: dict[str, Ended | Failed] = {}

    def listen() -> None:
        for connection in wait(list(running)):
            assert isinstance(connection, Connection)
            event = _next_event(connection, *running[connection], over=ends)
            if event is None:
                del running[connection]
                continue
            if isinstance(event, (Ended, Failed)):
                ends[event.run] = event
            watch(event)

    try:
        while waiting or running:
            while waiting and len(running) < workers:
                task = waiting.popleft()
                connection, process = _start(task, store=store, data_dir=data_dir, download=download)
                running[connection] = task, process
            listen()
    except KeyboardInterrupt:
        for _, process in running.values():
            process.terminate()
        while running:
            listen()
        raise
    return [ends[task.run] for task in tasks if not task.done]


def _start(task: Task, *, store: Path, data_dir: Path, download: bool) -> tuple[Connection, BaseProcess]:
    """Start a run's process; return the end of a pipe that its events come out of, and the process."""
    # "spawn": a forked copy of a process that has used torch's threads, or CUDA, may hang.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_train, args=(task, store, data_dir, download, theirs), name=task.run)
    process.start()
    theirs.close()  # so that the pipe ends when the process does
    return ours, process


def _next_event(connection: Connection, task: Task, process: BaseProcess, *, over: Mapping[str, Event]) -> Event | None:
    """Return the process's next event; when it is gone, a failure unless it said how it ended, and then None."""
    try:
        event: Event = connection.recv()
        return event
    except EOFError:
        process.join()
        if task.run in over:
            connection.close()
            return None
        return Failed(task.run, f"its process ended with status {process.exitcode}")


def _train(task: Task, store: Path, data_dir: Path, download: bool, events: Connection) -> None:
    """Train a run: the life of a process."""
    from dynamics.run import run

    # Ctrl-C reaches every process of the terminal; the first among them passes it on, once, as SIGTERM.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        run(
            task.config,
            store=store,
            name=task.run,
            data_dir=data_dir,
            download=download,
            resume=task.resume,
            overwrite=task.overwrite,
            watch=events.send,
        )
    except KeyboardInterrupt:
        events.send(Failed(task.run, "interrupted"))
    except BrokenPipeError:
        pass  # nobody listens any more: the sweep was killed
    except Exception as error:
        events.send(Failed(task.run, " ".join(f"{type(error).__name__}: {error}".split())))
