"""The time that a sweep will take, estimated from stored runs of the same arm or from a few timed steps."""

from __future__ import annotations

import heapq
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice

import numpy as np
import pandas as pd

from dynamics.classifier.config import RunConfig
from dynamics.classifier.dataset import Data, evenly_chosen, load, sample_counts
from dynamics.classifier.evaluation import evaluate
from dynamics.classifier.measures.margins import MARGIN_IMAGES
from dynamics.classifier.setup import assemble
from dynamics.classifier.training import train
from dynamics.runtime.stored_run import stored_run
from dynamics.sweeps.task import Task, differences

WARM_UP, TIMED = 2, 8  # steps
EVALUATED = 500  # images
START = 10.0  # seconds: imports, data, measures at the start and end


@dataclass(frozen=True)
class Speed:
    """The speed of one configuration, alone on its core.

    Attributes:
        step: Seconds for an optimizer step.
        image: Seconds for an image of an evaluation.
        source: Id of the stored run that was measured, or ``timed``.
    """

    step: float
    image: float
    source: str

    def seconds(self, config: RunConfig, *, steps: int, evaluated: int) -> float:
        """Return the seconds of ``steps`` steps, and of an evaluation of ``evaluated`` images after each epoch."""
        return START + steps * self.step + config.epochs * evaluated * self.image


@dataclass(frozen=True)
class Estimate:
    """The time that each run of a sweep needs.

    Attributes:
        seconds: Seconds of each run that is not done, by the run's id, in the order of the tasks.
        speeds: Speed of each of these runs, by the run's id.
    """

    seconds: Mapping[str, float]
    speeds: Mapping[str, Speed]

    def wall_clock(self, *, cores: int) -> float:
        """Return the seconds until the last run ends, if each core takes the next run when it is free."""
        busy = [0.0] * cores
        for seconds in self.seconds.values():
            heapq.heappush(busy, heapq.heappop(busy) + seconds)
        return max(busy)


def longest_first(tasks: Sequence[Task], estimate: Estimate) -> list[Task]:
    """Return the tasks ordered by seed, and within a seed the longest first.

    The cores then end at about the same time, and a sweep that is stopped early has finished whole seeds.
    """
    return sorted(tasks, key=lambda task: (task.config.to_dict()["seed"], -estimate.seconds.get(task.run, 0.0)))


def estimate_sweep(
    tasks: Sequence[Task], *, store: str | os.PathLike[str], data_dir: str | os.PathLike[str] = "data"
) -> Estimate:
    """Return the time of the runs that are not done.

    The speed of an arm is the speed of a finished run that differs only in the seed. Without such a run a few steps are
    timed on this machine. The estimate assumes the same load on the machine. Only the remaining steps of a continued
    run count.

    Args:
        tasks: Runs of classifiers.
        store: The store that may hold finished runs.
        data_dir: Folder of the data sets.

    Raises:
        FileNotFoundError: A data set is missing.
    """

    @lru_cache(maxsize=2)
    def data(name: str) -> Data:
        return load(RunConfig(data=name), data_dir=data_dir)

    known: dict[RunConfig, Speed] = {}
    seconds, speeds = {}, {}
    for task in tasks:
        config = task.config
        if task.done or not isinstance(config, RunConfig):
            continue
        images = data(config.data)
        arm = replace(config, seed=0)
        if arm not in known:
            known[arm] = stored_speed(tasks, config, store=store) or timed_speed(config, images)
        speeds[task.run] = known[arm]
        seconds[task.run] = _seconds(task, config, known[arm], images)
    return Estimate(seconds, speeds)


def _seconds(task: Task, config: RunConfig, speed: Speed, data: Data) -> float:
    images, tested = sample_counts(config, data)
    steps = config.epochs * (images // config.batch_size)
    evaluated = tested + min(MARGIN_IMAGES, images)
    return speed.seconds(config, steps=max(steps - task.last_step, 0), evaluated=evaluated)


def stored_speed(tasks: Sequence[Task], config: RunConfig, *, store: str | os.PathLike[str]) -> Speed | None:
    """Return the speed of a finished run among the tasks that differs from a configuration only in the seed.

    None if there is no such run. Its time per step includes the time of its evaluations.
    """
    for task in tasks:
        if not task.done or not isinstance(task.config, RunConfig):
            continue
        found = stored_run(store, task.run)
        if found is None or differences(found, replace(config, seed=task.config.seed)):
            continue
        rows = pd.read_parquet(f"{store}/steps", filters=[("run", "==", task.run), ("split", "==", "train")])
        if (steps := np.ptp(rows["step"])) > 0:
            return Speed(float(np.ptp(rows["seconds"]) / steps), 0.0, task.run)
    return None


def timed_speed(config: RunConfig, data: Data) -> Speed:
    """Return the speed of a few steps, and of an evaluation of 500 images, timed on this machine now."""
    setup = assemble(config, data)
    steps = train(setup.model, setup.optimizer, setup.batches, epochs=1, penalty=setup.penalty)
    ends = [time.perf_counter(), *(time.perf_counter() for _ in islice(steps, WARM_UP + TIMED))]
    step = float(np.median(np.diff(ends)[WARM_UP:] if len(ends) > WARM_UP + 1 else np.diff(ends)))
    inputs, targets = evenly_chosen(setup.data, "test", most=EVALUATED)
    began = time.perf_counter()
    evaluate(setup.model, [(inputs, targets)])
    image = (time.perf_counter() - began) / len(inputs)
    return Speed(step, image, "timed")
