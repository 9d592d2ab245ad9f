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

RETRIES = 10  # of a run whose worker died; an error of the run itself is not tried again


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
    """Train runs wherever Ray finds room; a run whose worker or machine dies goes on elsewhere from its checkpoint.

    Args:
        tasks: The runs; those that are done are left.
        store: Where to record: a path that every machine sees.
        data_dir: Where data sets lie, on every machine.
        download: Fetch them if they do not.
        address: Address of a running cluster; ``auto`` finds the one that this machine belongs to. Empty: a cluster of
            this machine alone, for as long as the sweep lasts.
        gpus: GPUs a run takes, or a share of one.
        watch: Receives the end of each run. Runs in progress are seen in the store: ``meandrift watch``.

    Returns:
        How each run that was to be trained ended, in the order of ``tasks``.

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
    """Train a run, or the rest of it after a worker died; None if nothing is left."""
    keep_freed_memory()
    # Ray may be trying again: the rows in the store are those of the last worker, which is dead. Where file locks
    # work, even force takes nothing from a writer that lives.
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
