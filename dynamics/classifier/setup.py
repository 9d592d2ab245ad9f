"""The objects of a run, made from its configuration: data, batches, model, optimizer."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from dynamics.classifier.config import RunConfig
from dynamics.classifier.dataset import Batches, Data, load, prepared, training_batches
from dynamics.classifier.network import make_model
from dynamics.data.seeding import seed_everything
from dynamics.norms.spectral_regularisation import SpectralRegularisation
from dynamics.runtime.device import choose_device, usable_cores
from dynamics.runtime.ranks import ALONE, Ranks

AUTOCAST = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Setup:
    """The objects that a run trains with; the same configuration gives the same numbers.

    Attributes:
        config: The settings.
        device: Device of data, batches and model.
        data: Training and test images, or text.
        batches: The training batches.
        model: The model, freshly initialised.
        optimizer: Adam on the model's parameters.
        penalty: A term of the loss beside the cross-entropy, with buffers of its own; None if there is no such term.
        scaler: Scales the loss under float16; otherwise it does nothing.
        autocast: Dtype of the forward; None for the model's own dtype.
    """

    config: RunConfig
    device: torch.device
    data: Data
    batches: Batches
    model: nn.Module
    optimizer: torch.optim.Optimizer
    penalty: SpectralRegularisation | None
    scaler: torch.amp.GradScaler
    autocast: torch.dtype | None

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.config.epochs * len(self.batches)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of model, optimizer, scaler and penalty."""
        penalty = {} if self.penalty is None else {"penalty": self.penalty.state_dict()}
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            **penalty,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load a state of :meth:`state_dict` into model, optimizer, scaler and penalty."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        if self.penalty is not None:
            self.penalty.load_state_dict(state["penalty"])


def set_up(
    config: RunConfig, *, data_dir: str | os.PathLike[str] = "data", download: bool = False, ranks: Ranks = ALONE
) -> Setup:
    """Load the data, seed torch's global generators and make the model, whose initialisation draws from them.

    Raises:
        ValueError: A model, norm, data set, augmentation or device is unknown.
        FileNotFoundError: The data set is missing.
    """
    return assemble(config, load(config, data_dir=data_dir, download=download), ranks=ranks)


def assemble(config: RunConfig, data: Data, *, ranks: Ranks = ALONE) -> Setup:
    """Make batches, model and optimizer for a loaded data set; see :func:`set_up`."""
    torch.set_num_threads(config.threads or usable_cores())
    device = choose_device(config.device, local=ranks.local)
    data = prepared(config, data).to(device)
    batches = training_batches(config, data)
    seed_everything(config.seed)
    model = make_model(config, data).to(device)
    return Setup(
        config,
        device,
        data,
        batches,
        model,
        optimizer=torch.optim.Adam(model.parameters(), lr=config.learning_rate),
        penalty=regularisation(model, strength=config.spectral_regularisation),
        scaler=torch.amp.GradScaler(device.type, enabled=config.precision == "float16"),
        autocast=AUTOCAST[config.precision],
    )


def regularisation(model: nn.Module, *, strength: float) -> SpectralRegularisation | None:
    """Return the spectral-norm regularisation of a model; None for strength 0. The global generator is not changed.

    Raises:
        ValueError: The model's weights are reparametrised.
    """
    if strength == 0:
        return None
    with torch.random.fork_rng(devices=[]):
        return SpectralRegularisation(model, strength=strength).to(next(model.parameters()).device)


def check(configs: Iterable[RunConfig], *, data_dir: str | os.PathLike[str] = "data", download: bool = False) -> None:
    """Raise for configurations that cannot run, before any run is trained, by setting up each once.

    Each data set is downloaded here once, not by many processes at the same time.

    Raises:
        ValueError: As :func:`set_up`.
        FileNotFoundError: As :func:`set_up`.
    """
    configs = {replace(config, seed=0, learning_rate=0.001, epochs=1) for config in configs}
    by_data: dict[str, list[RunConfig]] = {}
    for config in sorted(configs, key=lambda config: config.data):
        by_data.setdefault(config.data, []).append(config)
    for first, *others in by_data.values():
        data = load(first, data_dir=data_dir, download=download)
        for config in (first, *others):
            assemble(config, data)
