"""From a configuration to the things that train: data, batches, model, optimizer."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from dynamics.classifier.config import DIGITS, RunConfig
from dynamics.data.batches import TrainingBatches
from dynamics.data.images import DataSet, Images
from dynamics.data.seeding import seed_everything
from dynamics.data.sources import load_data
from dynamics.models import build
from dynamics.norms import NORMS
from dynamics.runtime.ranks import ALONE, Ranks

RELEASED_STATISTICS = {  # mean and standard deviation as the authors' scripts have them
    "mnist": ((0.4914,), (0.2023,)),
    "cifar10": ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
    "svhn": ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
}
AUTOCAST = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Setup:
    """All that a run trains with, as its configuration says; the same configuration gives the same numbers.

    Attributes:
        config: The settings.
        device: Where everything is.
        data: Training and test images.
        batches: The training batches.
        model: Freshly initialised.
        optimizer: Adam on the model's parameters.
        scaler: Scales the loss under float16, else does nothing.
        autocast: Type to compute in; None for the model's own.
    """

    config: RunConfig
    device: torch.device
    data: DataSet
    batches: TrainingBatches
    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    autocast: torch.dtype | None

    def state_dict(self) -> dict[str, Any]:
        """Return the state of model, optimizer and scaler."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put model, optimizer and scaler into a state of :meth:`state_dict`."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])


def set_up(
    config: RunConfig, *, data_dir: str | os.PathLike[str] = "data", download: bool = False, ranks: Ranks = ALONE
) -> Setup:
    """Load the data and make the model, seeded; torch's global generators are left as the model's making left them.

    Raises:
        ValueError: An unknown model, norm, data set, augmentation or device.
        FileNotFoundError: The data set is not there.
    """
    return assemble(config, load_data(config.data, data_dir=data_dir, download=download), ranks=ranks)


def assemble(config: RunConfig, data: DataSet, *, ranks: Ranks = ALONE) -> Setup:
    """Make batches, model and optimizer for a data set that is loaded already; see :func:`set_up`."""
    torch.set_num_threads(config.threads or len(os.sched_getaffinity(0)))
    device = choose_device(config.device, local=ranks.local)
    data = prepare_data(config, data).to(device)
    batches = TrainingBatches(
        data.train,
        mean=data.mean,
        std=data.std,
        batch_size=config.batch_size,
        augmentation=augmentation(config),
        seed=config.seed,
    )
    seed_everything(config.seed)
    model = make_model(config, data).to(device)
    return Setup(
        config,
        device,
        data,
        batches,
        model,
        optimizer=torch.optim.Adam(model.parameters(), lr=config.learning_rate),
        scaler=torch.amp.GradScaler(device.type, enabled=config.precision == "float16"),
        autocast=AUTOCAST[config.precision],
    )


def check(configs: Iterable[RunConfig], *, data_dir: str | os.PathLike[str] = "data", download: bool = False) -> None:
    """Set every configuration up and throw it away: what cannot run is told before anything is trained.

    Data sets are fetched here, once, and not by many processes at the same time.

    Raises:
        ValueError: As :func:`set_up`.
        FileNotFoundError: As :func:`set_up`.
    """
    configs = {replace(config, seed=0, learning_rate=0.001, epochs=1) for config in configs}
    for name in sorted({config.data for config in configs}):
        data = load_data(name, data_dir=data_dir, download=download)
        for config in configs:
            if config.data == name:
                assemble(config, data)


def make_model(config: RunConfig, data: DataSet) -> nn.Module:
    """Return the configuration's model for the images of a data set, freshly initialised.

    Raises:
        ValueError: An unknown model or norm, or a model without a released scope.
    """
    return build(
        config.model,
        norm_name(config),
        in_channels=data.in_channels,
        image_size=data.image_size,
        num_classes=data.num_classes,
        **model_options(config),
    )


def norm_name(config: RunConfig) -> str:
    """Return the norm's name in the registry: the scripts' own variant where the definition is ``released``."""
    own = f"released_{config.norm}"
    return own if config.definition == "released" and own in NORMS else config.norm


def model_options(config: RunConfig) -> dict[str, Any]:
    """Return what a model takes beyond its norm.

    Raises:
        ValueError: A released scope is asked of a model whose scripts normalise every layer.
    """
    if config.scope == "released" and config.model != "densenet_bc":
        raise ValueError(f"scope 'released': model {config.model!r} has one scope, 'full'; densenet_bc has both.")
    options: dict[str, Any] = {} if config.scope == "full" else {"scope": config.scope}
    if (config.model, config.norm, config.definition) == ("vgg7", "bn", "released"):
        options |= {"activation": nn.ReLU, "dropout": 0.3}  # a confound of the scripts: their SN and MSN have neither
    return options


def choose_device(name: str, *, local: int = 0) -> torch.device:
    """Return the device of that name; ``"auto"`` is CUDA device ``local`` where there is one, else the CPU.

    Raises:
        ValueError: torch knows no such device, or this machine has none.
    """
    if name == "auto":
        return torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {name!r}: {reason}. Expected auto, cpu, or a GPU of this machine.") from error
    return device


def augmentation(config: RunConfig) -> str:
    """Return the augmentation that ``auto`` stands for.

    Crops and mirror images, but no mirrored digits. Under the released definition it is what the scripts do: digits of
    MNIST are mirrored too, and SVHN is left as it is.
    """
    if config.augmentation != "auto":
        return config.augmentation
    if config.definition == "released":
        return "none" if config.data == "svhn" else "crop-flip"
    return "crop" if config.data in DIGITS else "crop-flip"


def prepare_data(config: RunConfig, data: DataSet) -> DataSet:
    """Return the data set with the statistics of the configuration's definition and as many images as it asks for."""
    if config.definition == "released" and config.data in RELEASED_STATISTICS:
        mean, std = RELEASED_STATISTICS[config.data]
        data = replace(data, mean=mean, std=std)
    if config.train_images:
        data = replace(data, train=first_of_each_class(data.train, config.train_images))
    return data


def first_of_each_class(images: Images, count: int) -> Images:
    """Return the first ``count`` images of every class, in their order.

    Raises:
        ValueError: A class has fewer.
    """
    ranks = torch.zeros_like(images.labels)
    for label in images.labels.unique():
        of_class = images.labels == label
        if int(of_class.sum()) < count:
            raise ValueError(f"train_images {count}: class {int(label)} has only {int(of_class.sum())} images.")
        ranks[of_class] = torch.arange(int(of_class.sum()))
    chosen = ranks < count
    return Images(images.pixels[chosen], images.labels[chosen])
