"""One GAN run: training under a probe, sample grids, scores and checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynamics.data.batches import standardize
from dynamics.data.images import evenly_spaced
from dynamics.data.seeding import seed_everything
from dynamics.data.sources import load_data
from dynamics.gan.images import padded
from dynamics.gan.losses import loss_named
from dynamics.gan.scoring.extractors import choose_extractor
from dynamics.gan.scoring.samples import COLUMNS, ROWS, forget_grids, generate, noise, samples_folder, write_grid
from dynamics.gan.scoring.scorer import Scorer, scorer
from dynamics.gan.train_state import TrainState, new_train_state
from dynamics.gan.training import real_batches, train_gan
from dynamics.runtime.checkpoint import checkpoint_path, fitting, load_checkpoint, save_checkpoint
from dynamics.runtime.device import choose_device
from dynamics.runtime.events import Began, Ended, Refresh, Scored, Stepped, Watch, unwatched
from dynamics.runtime.interruption import deferred_interrupt
from dynamics.runtime.stored_run import check_new
from probes import Probe
from probes.schema import check_run_id

if TYPE_CHECKING:
    import torch

    from dynamics.data.images import DataSet
    from dynamics.gan.config import GanConfig
    from dynamics.gan.train_state import Pair

REAL, TEST = "real", "test"  # splits of table `steps`: scores of real images, and of generated ones
STATE = "players"  # key in a checkpoint; an older name, kept so that checkpoints of earlier versions can be resumed


def run(
    config: GanConfig,
    *,
    store: str | PathLike[str] = "runs",
    name: str = "",
    extractor: str = "trained",
    data_dir: str | PathLike[str] = "data",
    download: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    watch: Watch = unwatched,
) -> Ended:
    """Train generator and critic under one probe, to the end.

    A checkpoint is written with every grid of samples and on Ctrl-C. A resumed run starts from the last checkpoint and
    repeats the grid and the scores that are due at its step. Rows beyond the checkpoint are superseded. The numbers are
    those of an uninterrupted run.

    Args:
        config: The settings.
        store: Folder of the store. It also holds checkpoints, grids and a trained extractor.
        name: Run id; by default :attr:`GanConfig.name`.
        extractor: See :func:`dynamics.gan.scoring.extractors.choose_extractor`.
        data_dir: Folder of the data sets.
        download: Fetch missing data sets.
        resume: Continue this run from its last checkpoint, or from the start if it has no checkpoint.
        overwrite: Delete an existing run of this id first.
        watch: Receives the events of the run.

    Raises:
        ValueError: A setting does not fit the data, the run exists, or the checkpoint has other settings.
        FileNotFoundError: Data or weights are missing.
        KeyboardInterrupt: Ctrl-C was pressed. The checkpoint is written, and the store is closed and readable.
    """
    began, name, device = time.monotonic(), name or config.name, choose_device(config.device)
    place, grids = _checkpoint(store, name), samples_folder(store, name)
    if resume and not place.is_file():
        resume, overwrite = False, True
    if not resume and not overwrite:  # checked before the extractor is trained, which takes long
        check_new(store, name)
    saved = _saved(place, config, device) if resume else None
    start = 0 if saved is None else saved["step"]
    data = padded(load_data(config.data, data_dir=data_dir, download=download)).to(device)
    measuring = scorer(config, data, choose_extractor(extractor, data, folder=grids.parents[1] / "_extractors"))
    state = _new_state(config, data, device)
    if saved is not None:  # loaded before the probe supersedes rows, so that a checkpoint that does not fit loses none
        with fitting(place):
            state.load_state_dict(saved[STATE])
    probe = Probe(
        state.pair,
        state.optimizers(),
        store=store,
        run=name,
        every=config.every,
        config={**config.to_dict(), **measuring.description()},
        resume_step=None if saved is None else start,
        overwrite=overwrite,
        probe_batch=probe_batch(data, config, device),
    )
    with probe, deferred_interrupt() as interrupted:
        session = _Session(name, config, state, probe, measuring, place, grids, watch, interrupted)
        session.begin(saved)
        session.follow(data, start)
    ended = Ended(name, config.steps, time.monotonic() - began, diverged=False)
    watch(ended)
    return ended


@dataclass(frozen=True, eq=False)
class _Session:
    """The part of a run from its start or checkpoint to its end or Ctrl-C."""

    run: str
    config: GanConfig
    state: TrainState
    probe: Probe
    scorer: Scorer
    checkpoint: Path
    grids: Path
    watch: Watch
    interrupted: Callable[[], bool]

    def begin(self, saved: dict[str, Any] | None) -> None:
        """Load the probe's state from a checkpoint, or score the real images. Delete grids that will be made again."""
        forget_grids(self.grids, after=saved["step"] if saved else -1)
        if saved is None:
            self.probe.log(split=REAL, **self.scorer.real())
            return
        with fitting(self.checkpoint):
            self.probe.load_state_dict(saved["probe"])

    def follow(self, data: DataSet, start: int) -> None:
        """Train to the end; save, sample and score between two steps when due."""
        config, refresh = self.config, Refresh()
        self.watch(Began(self.run, epochs=0, steps=config.steps, start=start))
        self.save_and_score(start)
        batches, loss = real_batches(data, config), loss_named(config.loss)
        for step in train_gan(self.state, batches, config=config, loss=loss, start=start, probe=self.probe):
            if self.interrupted():
                self.save(step)
                raise KeyboardInterrupt
            if refresh.due() or step == config.steps:
                self.watch(Stepped(self.run, step))
            self.save_and_score(step)

    def save_and_score(self, step: int) -> None:
        """Save, sample and score if due after this step. A run resumed from this step samples and scores again."""
        last = step == self.config.steps
        if last or step % self.config.sample_every == 0:
            self.save(step)
            z = noise(ROWS * COLUMNS, self.config.latent, seed=self.config.seed, use="grid")
            write_grid(self.grids, generate(self.state.sampled, z), step=step)
        if last or step % self.config.score_every == 0:
            scores = self.scorer.measure(self.state, draws=self.config.draws if last else 1)
            self.probe.log(split=TEST, **scores)
            self.watch(Scored(self.run, step, _worth_telling(scores)))

    def save(self, step: int) -> None:
        """Write a checkpoint."""
        self.probe.flush()  # a resumed run keeps the rows up to its checkpoint, so these must be on disk
        states = {STATE: self.state.state_dict(), "probe": self.probe.state_dict()}
        save_checkpoint(self.checkpoint, {"config": self.config.to_dict(), "step": step, **states})


def probe_batch(data: DataSet, config: GanConfig, device: torch.device) -> Callable[[Pair], None] | None:
    """Return a function that passes fixed noise through the generator and fixed real images through the critic.

    None if ``config.probe_images`` is 0.
    """
    if not config.probe_images:
        return None
    half = (0.5,) * data.in_channels
    real = standardize(evenly_spaced(data.train, most=config.probe_images).pixels, half, half)
    z = noise(config.probe_images, config.latent, seed=config.seed, use="probe").to(device)

    def pass_through(pair: Pair) -> None:
        pair.generator(z)
        pair.critic(real)

    return pass_through


def _worth_telling(scores: dict[str, float]) -> dict[str, float]:
    """Return the scores for the progress line: inception scores and Frechet distances, else all others; no ``_std``."""
    means = {name: value for name, value in scores.items() if not name.endswith("_std")}
    return {name: value for name, value in means.items() if name.startswith(("is_", "fid_"))} or means


def _checkpoint(store: str | PathLike[str], run: str) -> Path:
    if "://" in str(store):
        raise ValueError(f"store {store}: a GAN run keeps checkpoints and samples in its store; name a local folder.")
    return checkpoint_path(store, check_run_id(run))


def _saved(place: Path, config: GanConfig, device: torch.device) -> dict[str, Any]:
    saved = load_checkpoint(
        place,
        config=config.to_dict(),
        defaults=type(config)().to_dict(),
        may_change=config.may_change,
        device=device,
    )
    if saved["step"] > config.steps:
        raise ValueError(
            f"checkpoint {place} is at step {saved['step']}: expected --steps of at least that, got {config.steps}."
        )
    return saved


def _new_state(config: GanConfig, data: DataSet, device: torch.device) -> TrainState:
    seed_everything(config.seed)
    return new_train_state(config, in_channels=data.in_channels, device=device)
