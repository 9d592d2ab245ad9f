"""A sweep on one machine: many runs side by side, one process per run."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING

from dynamics.norms.torch_internals import COMPILER
from dynamics.runtime.allocator import keep_freed_memory
from dynamics.runtime.device import usable_cores
from dynamics.runtime.events import Ended, Event, Failed, Noted, Watch, unwatched
from dynamics.runtime.progress import warn_in_one_line
from dynamics.sweeps.task import Task, task_for

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, SpawnContext

# Not "fork": a forked copy of a process that has used torch's threads or CUDA may hang.
CONTEXT: ForkServerContext | SpawnContext = (
    multiprocessing.get_context("forkserver")
    if "forkserver" in multiprocessing.get_all_start_methods()
    else multiprocessing.get_context("spawn")
)


def sweep(
    tasks: Sequence[Task],
    *,
    store: str | os.PathLike[str],
    data_dir: str | os.PathLike[str] = "data",
    download: bool = False,
    workers: int = 0,
    watch: Watch = unwatched,
) -> list[Ended | Failed]:
    """Train runs side by side, each in its own process; a run that fails or is killed does not stop the others.

    Ctrl-C and SIGTERM reach every run: each finishes its step and writes its checkpoint.

    Args:
        tasks: The runs; those that are done are skipped.
        store: Folder to record into. Each run writes its own partition.
        data_dir: Folder of the data sets.
        download: Download a data set that is not in ``data_dir``.
        workers: Processes at a time. 0: one for each CPU, with more in the first round, see :func:`first_round`.
        watch: Receives the events of all runs.

    Returns:
        The last event of each run that was not done before, in the order of ``tasks``.

    Raises:
        ValueError: ``workers`` is negative.
        KeyboardInterrupt: Ctrl-C was pressed; every checkpoint is written.
    """
    if workers < 0:
        raise ValueError(f"workers {workers}: expected 0 or more.")
    waiting = deque(task for task in tasks if not task.done)
    cores = usable_cores()
    limit, workers = (workers, workers) if workers else (first_round(len(waiting), cores=cores), cores)
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
            while waiting and len(running) < limit:
                task = waiting.popleft()
                connection, process = _start(task, store=store, data_dir=data_dir, download=download)
                running[connection] = task, process
            limit = workers
            listen()
    except KeyboardInterrupt:
        for _, process in running.values():
            process.terminate()
        while running:
            listen()
        raise
    return [ends[task.run] for task in tasks if not task.done]


def first_round(runs: int, *, cores: int) -> int:
    """Return the number of single-thread runs that start at first, so that few cores are idle at the end.

    The number is ``cores + runs mod cores``; later each core has one run. Three runs of time T on two cores then take
    3/2 T; with one run a core from the start they take 2 T. A remainder of more than half of the cores gets its own
    round instead: sharing would gain less than T / 2, and needs the memory of more processes.
    """
    rest = runs % cores
    return min(runs, cores + rest if rest <= cores / 2 else cores)


def _start(
    task: Task, *, store: str | os.PathLike[str], data_dir: str | os.PathLike[str], download: bool
) -> tuple[Connection, BaseProcess]:
    """Start a run's process; return the reading end of the pipe for its events, and the process."""
    # Import once for all runs. torch's first optimizer imports its compiler, which takes as long as importing torch.
    CONTEXT.set_forkserver_preload(["dynamics.classifier.run", COMPILER])
    ours, theirs = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_train, args=(task, store, data_dir, download, theirs), name=task.run)
    process.start()
    theirs.close()  # so that the pipe ends when the process does
    return ours, process


def _next_event(connection: Connection, task: Task, process: BaseProcess, *, over: Mapping[str, Event]) -> Event | None:
    """Return the process's next event. After the process ended: a failure if it sent no last event, then None."""
    try:
        event: Event = connection.recv()
        return event
    except EOFError:
        process.join()
        if task.run in over:
            connection.close()
            return None
        return Failed(task.run, f"its process ended with status {process.exitcode}")


def _train(
    task: Task, store: str | os.PathLike[str], data_dir: str | os.PathLike[str], download: bool, events: Connection
) -> None:
    """Train a run: the main function of its process."""
    import torch

    warn_in_one_line()
    torch.set_num_threads(1)  # unless the run's own settings say otherwise
    keep_freed_memory()
    # Ctrl-C reaches every process of the terminal. Runs ignore it: the sweep's process sends each run one SIGTERM.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        # Another sweep may have trained this run since the tasks were made.
        left = task if task.overwrite else task_for(store, task.run, task.config, extractor=task.extractor)
        if left.done:
            events.send(Noted(task.run, "was finished by another sweep in the meantime"))
            events.send(Ended(task.run, left.last_step, 0.0, False))
        else:
            left.train(store=store, data_dir=data_dir, download=download, watch=events.send)
    except KeyboardInterrupt:
        events.send(Failed(task.run, "interrupted"))
    except BrokenPipeError:
        pass  # nobody listens any more: the sweep was killed
    except Exception as error:
        events.send(Failed(task.run, " ".join(f"{type(error).__name__}: {error}".split())))
