"""Other tools that watch a training, each recording at every step, for comparison; only those that are installed."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from probe_models import Training
from torch import Tensor


class WandbWatch:
    """wandb.watch of gradients and parameters, offline."""

    def __init__(self, training: Training, folder: Path) -> None:
        import wandb

        os.environ["WANDB_SILENT"] = "true"
        folder.mkdir(parents=True)
        self.run = wandb.init(mode="offline", dir=folder, project="bench")
        self.run.watch(training.model, log="all", log_freq=1)

    def step(self, loss: Tensor) -> None:
        """Log the step."""
        self.run.log({"loss": loss.item()})

    def close(self) -> None:
        """End the run."""
        self.run.finish()


class TensorBoardHistograms:
    """add_histogram of every parameter and gradient."""

    def __init__(self, training: Training, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer, self.model, self.steps = SummaryWriter(folder), training.model, 0

    def step(self, _loss: Tensor) -> None:
        """Log the step."""
        for name, parameter in self.model.named_parameters():
            self.writer.add_histogram(name, parameter, self.steps)
            self.writer.add_histogram(f"{name}.grad", parameter.grad, self.steps)
        self.steps += 1

    def close(self) -> None:
        """End the run."""
        self.writer.close()


class Delve:
    """delve's saturation, intrinsic dimension and trace of activations."""

    def __init__(self, training: Training, folder: Path) -> None:
        from delve import SaturationTracker

        folder.mkdir(parents=True)
        self.tracker = SaturationTracker(
            str(folder / "delve"), save_to="csv", modules=training.model, stats=["lsat", "idim"], device="cpu"
        )

    def step(self, _loss: Tensor) -> None:
        """Log the step."""
        self.tracker.add_saturations()

    def close(self) -> None:
        """End the run."""
        self.tracker.close()


class WeightWatcher:
    """weightwatcher's spectra of the weights, at every step; it stores nothing."""

    def __init__(self, training: Training, _folder: Path) -> None:
        import logging

        import weightwatcher

        logging.getLogger("weightwatcher").setLevel(logging.ERROR)
        self.watcher = weightwatcher.WeightWatcher(model=training.model)

    def step(self, _loss: Tensor) -> None:
        """Analyse the weights."""
        self.watcher.analyze(min_evals=1, plot=False)

    def close(self) -> None:
        """Nothing to end."""


class TorchLens:
    """torchlens's watch of parameters and gradients with histograms, to JSON-lines files."""

    def __init__(self, training: Training, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.steps, self.training, self.folder = 0, training, folder
        self.watch = self.begin()

    def begin(self) -> Any:
        """Return a new watch."""
        from torchlens import trackers

        return trackers.watch(
            self.training.model,
            to=trackers.JSONLSink(str(self.folder / f"watch-{self.steps}.jsonl")),
            signals=("parameters", "gradients"),
            optimizer=self.training.optimizer,
            every=1,
            hist_every=1,
            step=lambda: self.steps,
        )

    def step(self, _loss: Tensor) -> None:
        """Count; it logs by itself, up to 256 steps, beyond which version 2.36 raises inside the optimizer's step."""
        self.steps += 1
        if self.steps % 200 == 0:
            self.watch.close()
            self.watch = self.begin()

    def close(self) -> None:
        """End the watch."""
        self.watch.close()


PEERS: dict[str, Callable[[Training, Path], Any]] = {
    "wandb": WandbWatch,
    "tensorboard": TensorBoardHistograms,
    "delve": Delve,
    "weightwatcher": WeightWatcher,
    "torchlens": TorchLens,
}


def installed() -> list[str]:
    """Return the peers that can be imported."""
    return [name for name in PEERS if importlib.util.find_spec(name) is not None]
