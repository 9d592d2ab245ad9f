"""The trained network of a stored run, read from its checkpoint, and the test images of its data set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike

import torch
from torch import Tensor, nn

from dynamics.classifier.config import RunConfig
from dynamics.classifier.config_sources import stored_config
from dynamics.classifier.dataset import prepare_data
from dynamics.classifier.network import make_model
from dynamics.data.batches import in_order
from dynamics.data.images import DataSet, Images, evenly_spaced
from dynamics.data.sources import load_data
from dynamics.runtime.checkpoint import checkpoint_path, fitting, load_checkpoint
from dynamics.runtime.stored_run import StoredRun, stored_run

TEST_BATCH = 500  # images; changes memory use, but no result
GAN_SETTING = "critic_steps"  # a setting that each run of `meandrift gan` has, and no classifier


@dataclass(frozen=True)
class TrainedRun:
    """A run of ``meandrift train``, at its last checkpoint.

    Attributes:
        run: Id of the run.
        status: ``finished``, ``running`` (also for a killed run), ``interrupted`` or ``failed``.
        step: Optimizer steps that the network was trained for.
        config: Settings of the run.
        network: The network in evaluation mode, on the CPU.
        data: Data set of the run; ``mean`` and ``std`` are those of the training.
        test: The test images: all, or an evenly spaced choice.
    """

    run: str
    status: str
    step: int
    config: RunConfig
    network: nn.Module
    data: DataSet
    test: Images

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the test images, ``(batch, channels, height, width)``, standardised, and their labels."""
        return in_order(self.test, mean=self.data.mean, std=self.data.std, batch_size=TEST_BATCH)

    def image(self) -> Tensor:
        """Return the first test image, ``(1, channels, height, width)``, standardised."""
        return next(self.batches())[0][:1]


def trained_run(
    store: str | PathLike[str],
    run: str,
    *,
    data_dir: str | PathLike[str] = "data",
    download: bool = False,
    test_images: int = 0,
) -> TrainedRun:
    """Read the network of a run's last checkpoint. Torch's global generators are not changed.

    Args:
        store: Store of the run.
        run: Id of the run.
        data_dir: Folder of the data sets.
        download: Download the data set if it is not in ``data_dir``.
        test_images: Take at most this many test images, evenly spaced; 0: all.

    Raises:
        ValueError: The store has no such run, the run is no classifier, its checkpoint does not fit, or its weights are
            not finite.
        FileNotFoundError: The run has no checkpoint, or the data set is missing.
    """
    if test_images < 0:
        raise ValueError(f"test_images {test_images}: expected 0 (all) or more.")
    found, config = _stored(store, run)
    place = checkpoint_path(store, run)
    if not place.is_file():
        raise FileNotFoundError(
            f"run {run!r} has no checkpoint: {place} is missing. `meandrift train` writes one at the end of each epoch."
        )
    state = load_checkpoint(
        place,
        config=config.to_dict(),
        defaults=type(config)().to_dict(),
        may_change=config.may_change,
    )
    data = prepare_data(config, load_data(config.data, data_dir=data_dir, download=download))
    with torch.random.fork_rng(devices=[]):
        network = make_model(config, data)
    with fitting(place):
        network.load_state_dict(state["model"])
    _check_finite(network, run)
    test = evenly_spaced(data.test, most=test_images) if test_images else data.test
    return TrainedRun(run, found.status, state["step"], config, network.eval(), data, test)


def _stored(store: str | PathLike[str], run: str) -> tuple[StoredRun, RunConfig]:
    """Return a run and its settings; raise for a run that `meandrift train` did not make."""
    found = stored_run(store, run)
    if found is None:
        raise ValueError(f"run {run!r} is not in store {store}: `meandrift runs {store}` lists those that are.")
    if GAN_SETTING in found.settings:
        raise ValueError(f"run {run!r} is of `meandrift gan`: expected a classifier, a run of `meandrift train`.")
    if "model" not in found.settings:
        raise ValueError(f"run {run!r} is of another program: expected a run of `meandrift train`.")
    return found, stored_config(store, run)


def _check_finite(network: nn.Module, run: str) -> None:
    broken = [name for name, tensor in network.state_dict().items() if not tensor.isfinite().all()]
    if broken:
        raise ValueError(f"run {run!r} diverged: {broken[0]} is not finite. Expected a network whose weights are.")
