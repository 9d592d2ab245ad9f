"""One run: a configuration, trained under a probe into a store."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from os import PathLike
from pathlib import Path

from dynamics.checkpoint import checkpoint_path, load_checkpoint, restore_random_state, save_checkpoint
from dynamics.config import RunConfig
from dynamics.data.batches import in_order
from dynamics.evaluation import evaluate
from dynamics.events import Began, Ended, Scored, Stepped, Watch, unwatched
from dynamics.interruption import deferred_interrupt
from dynamics.setup import Setup, set_up, trainable_parameters
from dynamics.stored import check_store
from dynamics.training import train
from probes import Probe
from probes.schema import check_run_id

EVALUATION_BATCH = 500  # images; alters memory, no result
REFRESH_SECONDS = 0.2  # reading a loss waits for the device: not at every step


def run(
    config: RunConfig,
    *,
    store: str | PathLike[str] = "runs",
    name: str = "",
    data_dir: str | PathLike[str] = "data",
    download: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    watch: Watch = unwatched,
) -> Ended:
    """Train one configuration under the probe's eyes and test it after each epoch.

    A checkpoint is written at the end of every epoch and on Ctrl-C. What was recorded past the last checkpoint is
    superseded when the run is resumed: no step appears twice, and the numbers are those of a run never stopped.

    Args:
        config: The settings.
        store: Where to record.
        name: Run id; by default :attr:`RunConfig.name`.
        data_dir: Where data sets lie.
        download: Fetch them if they do not.
        resume: Go on with this run, from its last checkpoint, or from the start if it has none.
        overwrite: Delete a run of that name first.
        watch: Is told of the progress.

    Raises:
        ValueError: A setting is unknown or out of range, or the run exists and neither ``resume`` nor ``overwrite``
            is given.
        FileNotFoundError: The data set is not there.
        KeyboardInterrupt: Ctrl-C came; the checkpoint is written, the store is closed and readable.
    """
    began, name = time.monotonic(), check_run_id(name or config.name)
    check_store(store)
    setup = set_up(config, data_dir=data_dir, download=download)
    place = checkpoint_path(store, name)
    saved = load_checkpoint(place, config=config.to_dict(), device=setup.device) if resume and place.exists() else None
    start = 0 if saved is None else saved["step"]
    probe = Probe(
        setup.model,
        setup.optimizer,
        store=store,
        run=name,
        every=config.every,
        include=_patterns(config.include),
        exclude=_patterns(config.exclude),
        config=config.to_dict() | {"parameters": trainable_parameters(setup.model)},
        resume_step=start if resume else None,
        overwrite=overwrite,
    )
    with probe, deferred_interrupt() as interrupted:
        if saved is not None:
            setup.load_state_dict(saved)
            probe.load_state_dict(saved["probe"])
            restore_random_state(saved["random"])
        watch(Began(name, config.epochs, config.epochs * len(setup.batches), start))
        steps, diverged = _follow(setup, probe, place, start=start, watch=watch, interrupted=interrupted)
    ended = Ended(name, steps, time.monotonic() - began, diverged)
    watch(ended)
    return ended


def _follow(
    setup: Setup, probe: Probe, place: Path, *, start: int, watch: Watch, interrupted: Callable[[], bool]
) -> tuple[int, bool]:
    """Train to the end, saving and testing after each epoch; return the steps taken and whether the loss diverged."""
    run, per_epoch, done, shown = place.stem, len(setup.batches), start, 0.0
    if start and start % per_epoch == 0:
        # The checkpoint was written before this test, whose rows are superseded with all that is later.
        watch(_test(setup, probe, run, epoch=start // per_epoch - 1))
    if setup.config.compile:
        setup.model.compile()  # in place, and only now: hooks added to a compiled model never fire
    steps = train(
        setup.model,
        setup.optimizer,
        setup.batches,
        epochs=setup.config.epochs,
        start=start,
        accumulate=setup.config.accumulate,
        probe=probe,
        scaler=setup.scaler,
        autocast=setup.autocast,
    )
    for step in steps:
        done, epoch_is_over, stop = step.step + 1, (step.step + 1) % per_epoch == 0, interrupted()
        if epoch_is_over or time.monotonic() - shown > REFRESH_SECONDS:
            watch(Stepped(run, done, step.epoch, float(step.loss)))
            shown = time.monotonic()
        if stop or epoch_is_over:
            _save(setup, probe, place, step=done)
        if stop:
            raise KeyboardInterrupt
        if epoch_is_over:
            watch(_test(setup, probe, run, epoch=step.epoch))
            if not math.isfinite(step.loss):
                return done, True
    return done, False


def _save(setup: Setup, probe: Probe, place: Path, *, step: int) -> None:
    probe.flush()  # a resumed run supersedes only what is later than its checkpoint: the rest must be there
    state = {"config": setup.config.to_dict(), "step": step, "probe": probe.state_dict(), **setup.state_dict()}
    save_checkpoint(place, state)


def _test(setup: Setup, probe: Probe, run: str, *, epoch: int) -> Scored:
    data = setup.data
    score = evaluate(setup.model, in_order(data.test, mean=data.mean, std=data.std, batch_size=EVALUATION_BATCH))
    probe.epoch = epoch
    probe.log(split="test", loss=score.loss, accuracy=score.accuracy)
    return Scored(run, epoch, score.loss, score.accuracy)


def _patterns(commas: str) -> list[str] | None:
    return commas.split(",") if commas else None
