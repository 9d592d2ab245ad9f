"""One classifier run: training under a probe, tests after each epoch, and checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor

from dynamics.classifier.config import RunConfig
from dynamics.classifier.dataset import evaluation_batches, evenly_chosen
from dynamics.classifier.evaluation import evaluate
from dynamics.classifier.learning_rate import scheduled_rate
from dynamics.classifier.measures.mean_trajectories import MeanTrajectories
from dynamics.classifier.measures.network_measures import NetworkMeasures
from dynamics.classifier.measures.thinned_records import ThinnedLog, evenly_spaced_steps, thinned
from dynamics.classifier.setup import Setup, set_up
from dynamics.classifier.training import Observer, Step, train
from dynamics.data.text.text_set import TextSet
from dynamics.models.parameter_counts import count_parameters
from dynamics.norms.interventions.intervention import Intervention
from dynamics.runtime.checkpoint import checkpoint_path, fitting, load_checkpoint, restore_random_state, save_checkpoint
from dynamics.runtime.events import Began, Ended, Refresh, Scored, Stepped, Watch, unwatched
from dynamics.runtime.interruption import deferred_interrupt
from dynamics.runtime.ranks import Ranks, environment, joined
from dynamics.runtime.stored_run import check_new, check_store
from dynamics.source_commit import source_commit
from probes import Probe
from probes.schema import check_run_id

EVALUATION_BATCH = 500  # images or windows; changes memory use, but no result


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
    """Train one configuration under a probe and test it after each epoch.

    A checkpoint is written at the end of every epoch and on Ctrl-C. Rows recorded after the last checkpoint are
    superseded when the run is resumed. No step appears twice, and the numbers are those of an uninterrupted run.

    Args:
        config: The settings.
        store: Folder to record into.
        name: Run id; by default :attr:`RunConfig.name`.
        data_dir: Folder of the data sets.
        download: Download a data set that is not in ``data_dir``.
        resume: Continue this run from its last checkpoint, or from the start if it has no checkpoint.
        overwrite: Delete an existing run of that name first.
        watch: Receives the events of the run.

    Raises:
        ValueError: A setting is unknown or out of range, or the run exists and neither ``resume`` nor ``overwrite``
            is set.
        FileNotFoundError: The data set is not in ``data_dir``.
        KeyboardInterrupt: Ctrl-C was pressed. The checkpoint is written, and the store is closed and readable.
    """
    began, name, ranks = time.monotonic(), check_run_id(name or config.name), environment()
    check_store(store)
    check_shares(config, ranks)
    if not resume and not overwrite:
        check_new(store, name)
    setup = set_up(config, data_dir=data_dir, download=download, ranks=ranks)
    measures = NetworkMeasures(setup)  # before a checkpoint is loaded: complexity refers to the first weights
    place = checkpoint_path(store, name)
    saved = _loaded(setup, place) if resume and place.exists() else None
    start = 0 if saved is None else saved["step"]
    watch = watch if ranks.first else unwatched
    with joined(ranks, device=setup.device), deferred_interrupt() as interrupted:
        probe = Probe(
            setup.model,
            setup.optimizer,
            store=store,
            run=name,
            **_recorded(setup),
            include=_patterns(config.include),
            exclude=_patterns(config.exclude),
            config=config.to_dict() | derived_settings(setup, measures),
            resume_step=start if resume else None,
            overwrite=overwrite,
            probe_batch=probe_batch(setup),
        )
        with probe:
            if not resume and ranks.first:
                place.unlink(missing_ok=True)  # the checkpoint of a deleted run of that name must not be resumed
            if saved is not None:
                with fitting(place):
                    probe.load_state_dict(saved["probe"])
                    restore_random_state(saved["random"])
            watch(Began(name, config.epochs, setup.steps, start))
            means = MeanTrajectories(setup.model, config.save_means, start=start) if config.save_means else None
            session = _Session(name, setup, measures, probe, ranks, place, watch, interrupted, means)
            steps, diverged = session.follow(start)
    ended = Ended(name, steps, time.monotonic() - began, diverged)
    watch(ended)
    return ended


def _loaded(setup: Setup, place: Path) -> dict[str, Any]:
    """Return the checkpoint. It is loaded before the probe supersedes rows, so that a misfit loses no rows."""
    config = setup.config
    saved = load_checkpoint(
        place,
        config=config.to_dict(),
        defaults=type(config)().to_dict(),
        may_change=config.may_change,
        device=setup.device,
    )
    with fitting(place):
        setup.load_state_dict(saved)
    return saved


@dataclass(frozen=True)
class _Session:
    """The part of a run from its start or checkpoint to its end or Ctrl-C."""

    run: str
    setup: Setup
    measures: NetworkMeasures
    probe: Probe
    ranks: Ranks
    place: Path
    watch: Watch
    interrupted: Callable[[], bool]
    means: MeanTrajectories | None

    def follow(self, start: int) -> tuple[int, bool]:
        """Train to the end, saving and testing after each epoch; return the steps taken, and whether it diverged."""
        per_epoch, done, refresh = len(self.setup.batches), start, Refresh()
        if start and start % per_epoch == 0:
            # The checkpoint was written before this epoch's test. The test's rows are superseded, so it is repeated.
            self.test(epoch=start // per_epoch - 1)
        for step in self.train(start):
            done, epoch_is_over = step.step + 1, (step.step + 1) % per_epoch == 0
            if self.means is not None:
                self.means.follow(done)
            stop = self.ranks.any(self.interrupted(), device=self.setup.device)
            if refresh.due() or epoch_is_over:
                self.watch(Stepped(self.run, done, step.epoch, float(step.loss)))
            if stop or epoch_is_over:
                self.save(done)
            if stop:
                raise KeyboardInterrupt
            if epoch_is_over:
                self.test(epoch=step.epoch)
                if not math.isfinite(step.loss):
                    return done, True
        return done, False

    def train(self, start: int) -> Iterator[Step]:
        """Return the steps from ``start`` on."""
        setup, config = self.setup, self.setup.config
        if config.compile:
            setup.model.compile()  # in place, after the probe added its hooks: hooks added later never fire
        return train(
            self.ranks.wrap(setup.model),
            setup.optimizer,
            setup.batches,
            epochs=config.epochs,
            start=start,
            accumulate=config.accumulate,
            probe=self._listener(start),
            scaler=setup.scaler,
            autocast=setup.autocast,
            ranks=self.ranks,
            rate=scheduled_rate(config.learning_rate, schedule=config.schedule, steps=setup.steps),
            penalty=setup.penalty,
        )

    def _listener(self, start: int) -> Observer:
        """Return the object that receives each step's loss: the probe, or a filter that passes on recorded steps."""
        if not self.setup.config.records:
            return self.probe
        kept = evenly_spaced_steps(self.setup.config.records, steps=self.setup.steps)
        return ThinnedLog(self.probe, kept=kept, start=start)

    def save(self, step: int) -> None:
        """Write the checkpoint; of several processes only the first writes it."""
        self.probe.flush()  # a resumed run keeps the rows up to its checkpoint, so these must be on disk
        state = {"config": self.setup.config.to_dict(), "step": step, "probe": self.probe.state_dict()}
        if self.ranks.first:
            save_checkpoint(self.place, state | self.setup.state_dict())
        if self.means is not None:
            self.means.write()

    def test(self, *, epoch: int) -> None:
        """Evaluate and record. Of several processes only the first does it; the others wait at their next step."""
        if not self.ranks.first:
            return
        score = evaluate(self.setup.model, evaluation_batches(self.setup.data, batch_size=EVALUATION_BATCH))
        bits = {"bits_per_character": score.bits} if isinstance(self.setup.data, TextSet) else {}
        self.probe.epoch = epoch
        measured = self.measures.of(self.setup.model, epoch=epoch)
        self.probe.log(split="test", loss=score.loss, accuracy=score.accuracy, **bits, **measured)
        scores = {"test loss": score.loss, "test accuracy": score.accuracy}
        self.watch(Scored(self.run, (epoch + 1) * len(self.setup.batches), scores, epoch))


def probe_batch(setup: Setup) -> Tensor | None:
    """Return evenly spaced training images or windows, on which the probe observes each nonlinearity; or None."""
    most = setup.config.probe_images
    return evenly_chosen(setup.data, "train", most=most)[0] if most else None


def derived_settings(setup: Setup, measures: NetworkMeasures) -> dict[str, Any]:
    """Return values derived from a run's settings and stored with them, see ``config_sources.DERIVED``."""
    told = {"not_measured": measures.not_measured, "commit": source_commit()}
    return {"parameters": count_parameters(setup.model), **{name: text for name, text in told.items() if text}}


def check_shares(config: RunConfig, ranks: Ranks) -> None:
    """Refuse a batch that processes and micro-batches cannot share evenly.

    Raises:
        ValueError: The batch cannot be shared evenly, or several processes train with a setting that needs a single
            one: an intervention, ``spectral_regularisation`` or ``save_means``.
    """
    alone = config.save_means or config.spectral_regularisation or config.intervention != Intervention()
    if ranks.count > 1 and alone:
        raise ValueError(
            f"interventions, spectral_regularisation and save_means: expected one process, got {ranks.count}."
        )
    if config.batch_size % (ranks.count * config.accumulate):
        raise ValueError(
            f"batch_size {config.batch_size}: expected a multiple of {ranks.count} processes times {config.accumulate} "
            "micro-batches."
        )


def _recorded(setup: Setup) -> dict[str, Any]:
    """Return the probe's arguments that set the recorded metrics and their schedules."""
    if not setup.config.records:
        return {"every": setup.config.every}
    batch = setup.config.probe_images > 0
    schedules = thinned(setup.config.records, steps=setup.steps, probe_batch=batch)
    return {"every": schedules, "metrics": list(schedules)}


def _patterns(commas: str) -> list[str] | None:
    return commas.split(",") if commas else None
