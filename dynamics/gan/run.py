"""A GAN run from settings to store: train, sample, score, save, and go on after a stop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynamics.data.seeding import seed_everything
from dynamics.data.sources import load_data
from dynamics.gan.images import padded
from dynamics.gan.losses import loss_named
from dynamics.gan.players import Players, players
from dynamics.gan.scoring.extractors import choose_extractor
from dynamics.gan.scoring.samples import COLUMNS, ROWS, forget_grids, generate, noise, samples_folder, write_grid
from dynamics.gan.scoring.scorer import Scorer, scorer
from dynamics.gan.train import real_batches, train_gan
from dynamics.runtime.checkpoint import checkpoint_path, load_checkpoint, save_checkpoint
from dynamics.runtime.device import choose_device
from dynamics.runtime.interruption import deferred_interrupt
from dynamics.runtime.stored import check_new
from probes import Probe
from probes.metrics import METRICS
from probes.schema import check_run_id

if TYPE_CHECKING:
    import torch

    from dynamics.data.images import DataSet
    from dynamics.gan.config import GanConfig

REAL, TEST = "real", "test"  # splits of table `steps`: scores of real images, and of generated ones


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        step: Generator steps taken.
        scores: Scores and critic gradients taken at this step; empty where none were due.
        grid: The grid of samples written at this step, or None.
    """

    step: int
    scores: dict[str, float]
    grid: Path | None


def run_gan(
    config: GanConfig,
    *,
    store: Path | str,
    run: str,
    extractor: str,
    data_dir: Path | str = "data",
    download: bool = False,
    resume: bool = False,
    overwrite: bool = False,
) -> Iterator[Progress]:
    """Train both networks under one probe and yield before the first and after every generator step.

    A checkpoint is written with every grid of samples and on Ctrl-C. A resumed run starts from the last one, repeats
    what was due at it, and gives the numbers of a run never stopped; rows beyond the checkpoint are superseded.

    Args:
        config: The settings.
        store: Folder of the store; checkpoints, grids and a trained extractor lie in it too.
        run: The run's id.
        extractor: See :func:`dynamics.gan.scoring.extractors.choose_extractor`.
        data_dir: Folder of the data sets.
        download: Fetch what is missing there.
        resume: Go on with the run's checkpoint.
        overwrite: Delete an existing run of this id first.

    Raises:
        ValueError: A setting that does not fit the data, or a run that exists, or one to resume that does not.
        FileNotFoundError: Data, weights or checkpoint that are not there.
        KeyboardInterrupt: Ctrl-C came; the checkpoint is written, the store is closed and readable.
    """
    device = choose_device(config.device)
    place, grids = _checkpoint(store, run), samples_folder(store, run)
    if not resume and not overwrite:  # said before the extractor is trained
        check_new(store, run)
    saved = _saved(place, config, device) if resume else None
    start = 0 if saved is None else saved["step"]
    data = padded(load_data(config.data, data_dir=data_dir, download=download)).to(device)
    measuring = scorer(config, data, choose_extractor(extractor, data, folder=Path(store) / "_extractors"))
    both = _players(config, data, device)
    with (
        Probe(
            both.pair,
            both.optimizers(),
            store=store,
            run=run,
            every=_cadence(config),
            config={**config.to_dict(), **measuring.description()},
            resume_step=None if saved is None else start,
            overwrite=overwrite,
        ) as probe,
        deferred_interrupt() as interrupted,
    ):
        forget_grids(grids, after=start if saved else -1)
        if saved is not None:
            both.load_state_dict(saved["players"])
            probe.load_state_dict(saved["probe"])
        else:
            probe.log(split=REAL, **measuring.real())
        milestones = _Milestones(config, both, probe, measuring, place, grids)
        yield milestones.reach(start)
        batches = real_batches(data, config)
        for step in train_gan(both, batches, config=config, loss=loss_named(config.loss), start=start, probe=probe):
            if interrupted():
                milestones.save(step)
                raise KeyboardInterrupt
            yield milestones.reach(step)


@dataclass(frozen=True, eq=False)
class _Milestones:
    """What happens between two steps, when it is due."""

    config: GanConfig
    players: Players
    probe: Probe
    scorer: Scorer
    checkpoint: Path
    grids: Path

    def reach(self, step: int) -> Progress:
        """Save first, then sample and score: a run resumed from here does both again."""
        last = step == self.config.steps
        grid = None
        if last or step % self.config.sample_every == 0:
            self.save(step)
            z = noise(ROWS * COLUMNS, self.config.latent, seed=self.config.seed, use="grid")
            grid = write_grid(self.grids, generate(self.players.sampled, z), step=step)
        scores = {}
        if last or step % self.config.score_every == 0:
            scores = self.scorer.measure(self.players, draws=self.config.draws if last else 1)
            self.probe.log(split=TEST, **scores)
        return Progress(step, scores, grid)

    def save(self, step: int) -> None:
        """Write a checkpoint."""
        self.probe.flush()  # a resumed run supersedes only what is later than its checkpoint: the rest must be there
        state = {"step": step, "players": self.players.state_dict(), "probe": self.probe.state_dict()}
        save_checkpoint(self.checkpoint, {"config": self.config.fixed(), **state})


def _checkpoint(store: Path | str, run: str) -> Path:
    if "://" in str(store):
        raise ValueError(f"store {store}: a GAN run keeps checkpoints and samples in its store; name a local folder.")
    return checkpoint_path(store, check_run_id(run))


def _saved(place: Path, config: GanConfig, device: torch.device) -> dict[str, Any]:
    if not place.is_file():
        raise FileNotFoundError(f"nothing to resume: {place} is missing. Leave out --resume to begin the run.")
    saved = load_checkpoint(place, config=config.fixed(), device=device)
    if saved["step"] > config.steps:
        raise ValueError(f"checkpoint {place} is at step {saved['step']}: --steps {config.steps} lies before it.")
    return saved


def _cadence(config: GanConfig) -> dict[str, int]:
    """Return when each metric is recorded: the operator norms, which bound the critic, with every score."""
    usual = {name: config.every * metric.every_nth_record for name, metric in METRICS.items()}
    return usual | {"operator_norm": config.score_every}


def _players(config: GanConfig, data: DataSet, device: torch.device) -> Players:
    seed_everything(config.seed)
    return players(config, in_channels=data.in_channels, device=device)
