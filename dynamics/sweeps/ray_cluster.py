"""A sweep on a Ray cluster: one task per run. Each writes its own partition of a shared store."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from dynamics.runtime.allocator import keep_freed_memory
from dynamics.runtime.events import Ended, Failed, Watch, unwatched
from dynamics.sweeps.task import Task, task_for
from probes.storage.files import open_store
from probes.storage.recovery import recover_dead
from probes.storage.removal import remove_run

RETRIES = 10  # retries of a run whose worker died; a run that raises an error is not retried


def sweep_on_ray(
    tasks: Sequence[Task],
    *,
    store: str | os.PathLike[str],
    data_dir: str | os.PathLike[str] = "data",
    download: bool = False,
    address: str = "",
    gpus: float = 0.0,
    watch: Watch = unwatched,
) -> list[Ended | Failed]:
    """Train runs on the machines of a Ray cluster. If a worker or machine dies, its run continues on another.

    Args:
        tasks: The runs; those that are done are skipped.
        store: Folder to record into: a path that every machine can reach.
        data_dir: Folder of the data sets, on every machine.
        download: Download a data set that is not in ``data_dir``.
        address: Address of a running cluster; ``auto`` finds the cluster of this machine. Empty: a cluster of only this
            machine, for the duration of the sweep.
        gpus: GPUs, or the share of a GPU, that a run takes.
        watch: Receives the last event of each run. ``meandrift watch`` shows the runs in progress from the store.

    Returns:
        The last event of each run that was not done before, in the order of ``tasks``.

    Raises:
        ValueError: Ray is not installed.
    """
    ray = _import_ray()
    todo = [task for task in tasks if not task.done]
    if not ray.is_initialized():
        ray.init(address=address or None, include_dashboard=False, log_to_driver=False)
    for task in todo:
        if task.overwrite:
            remove_run(open_store(store), task.run)
    try:
        waiting = {
            ray.remote(max_retries=RETRIES, num_cpus=task.config.cores, num_gpus=gpus)(train_on_worker)
            .options(name=task.run)
            .remote(task, os.fspath(store), os.fspath(data_dir), download): task.run
            for task in todo
        }
        ends: dict[str, Ended | Failed] = {}
        while waiting:
            (ready, *_), _ = ray.wait(list(waiting))
            run = waiting.pop(ready)
            ends[run] = _end(ray, ready, run)
            watch(ends[run])
        return [ends[task.run] for task in todo]
    finally:
        ray.shutdown()


def train_on_worker(task: Task, store: str, data_dir: str, download: bool) -> Ended | None:
    """Train a run, or its remaining part after a worker died; None if the run is finished."""
    keep_freed_memory()
    # On a retry the rows in the store belong to the last worker, which is dead. If file locks work, ``force`` does not
    # take rows from a live writer.
    recover_dead(open_store(store), [task.run], force=True)
    left = task_for(store, task.run, task.config, extractor=task.extractor)
    if left.done:
        return None
    return left.train(store=store, data_dir=data_dir, download=download)


def _end(ray: Any, ready: Any, run: str) -> Ended | Failed:
    try:
        ended = ray.get(ready)
    except ray.exceptions.RayTaskError as error:
        return Failed(run, " ".join(f"{type(error.cause).__name__}: {error.cause}".split()))
    except ray.exceptions.RayError as error:
        return Failed(run, " ".join(f"{type(error).__name__}: {error}".split()))
    return ended or Ended(run, 0, 0.0, False)


def _import_ray() -> Any:
    try:
        return import_module("ray")
    except ModuleNotFoundError as error:
        raise ValueError("a sweep on a cluster needs Ray: pip install 'meandrift[ray]'.") from error
