"""The settings of a GAN run: a frozen record of every setting that its numbers depend on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from os import PathLike
from typing import TYPE_CHECKING, Any, ClassVar, Self

from dynamics.runtime.options import DATA, RECORDS, setting

if TYPE_CHECKING:
    from dynamics.runtime.events import Ended

NETWORKS, TRAINING = "Networks", "Training"
# The paper's three critics: batch norm has the gradient penalty (WGAN-GP), both spectral norms have the loss of Eq. 11.
# A critic without a norm gets the penalty too, because nothing else bounds its gradient.
LOSS_OF_NORM = {"bn": "wasserstein", "none": "wasserstein"}
DEFAULT_LOSS = "softplus"


@dataclass(frozen=True, kw_only=True)
class GanConfig:
    """The settings of one GAN run. The defaults are those of the released script, also for the networks' width.

    Attributes:
        may_change: Settings that a resumed run may change: they alter no step already taken.
        length: Name of the setting that fixes the length of a run.
        cores: CPU cores that a run uses.

    Raises:
        ValueError: A setting is outside its range; the message names the value and the expected range.
    """

    may_change: ClassVar[frozenset[str]] = frozenset(
        {"steps", "every", "device", "probe_images", "sample_every", "score_every"}
    )
    length: ClassVar[str] = "steps"
    cores: ClassVar[int] = 1

    norm: str = setting("sn", NETWORKS, "Normalisation of the critic, as of meandrift train.", option="critic-norm")
    data: str = setting("mnist-subset", DATA, "mnist-subset (shipped), mnist, cifar10, ...; images of at most 32x32.")
    loss: str = setting(
        DEFAULT_LOSS, TRAINING, "softplus, hinge, or wasserstein with gradient penalty.", default_text="by norm"
    )
    steps: int = setting(10_000, TRAINING, "Generator steps.")
    critic_steps: int = setting(
        1, TRAINING, "Critic steps before each generator step.", default_text="5 for wasserstein, else 1"
    )
    batch_size: int = setting(64, TRAINING, "Real images a step, and as many generated ones.")
    learning_rate: float = setting(2e-4, TRAINING, "Adam's learning rate, of both networks.")
    beta1: float = setting(0.5, TRAINING, "Adam's first beta.")
    beta2: float = setting(0.999, TRAINING, "Adam's second beta.")
    latent: int = setting(128, NETWORKS, "Length of the noise vector.")
    width: int = setting(64, NETWORKS, "Channels of the critic's first layer; all others scale with it.")
    ema: float = setting(
        0.0, NETWORKS, "Decay of the generator's average that is sampled and scored; 0: no average.", default_text="0"
    )
    seed: int = setting(0, TRAINING, "Seed of weights, order and noise.")
    device: str = setting("auto", TRAINING, "cpu, cuda, ...; auto: a GPU where there is one.")
    every: int = setting(50, RECORDS, "Generator steps between two records of the probe; expensive metrics less often.")
    probe_images: int = setting(
        64, RECORDS, "Fixed real images and noises that both networks are given for table channels; 0: none."
    )
    sample_every: int = setting(500, RECORDS, "Generator steps between two sample grids and checkpoints.")
    score_every: int = setting(1000, RECORDS, "Generator steps between two scores.")
    draws: int = setting(5, RECORDS, "Draws that the last score is the mean of; earlier scores are of one draw.")
    draw_images: int = setting(2000, RECORDS, "Images a draw.")
    reference_images: int = setting(0, RECORDS, "Real training images that distances are taken to; 0: all.")

    def __post_init__(self) -> None:
        from dynamics.gan.losses import loss_named  # imported here: these modules import torch, which is slow
        from dynamics.norms import norm_named

        least_one = [
            "steps",
            "critic_steps",
            "batch_size",
            "latent",
            "width",
            "every",
            "sample_every",
            "score_every",
            "draws",
        ]
        for name, least in (
            *((name, 1) for name in least_one),
            ("draw_images", 2),
            ("reference_images", 0),
            ("probe_images", 0),
        ):
            if (value := getattr(self, name)) < least:
                raise ValueError(f"{name} {value}: expected {least} or more.")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ValueError(f"learning_rate {self.learning_rate}: expected a number above 0.")
        for name in ("beta1", "beta2", "ema"):
            if not 0 <= (value := getattr(self, name)) < 1:
                raise ValueError(f"{name} {value}: expected 0 or more and below 1.")
        norm_named(self.norm)
        loss_named(self.loss)

    @property
    def name(self) -> str:
        """A run id that distinguishes this run from others: ``gan-cifar10-sn-softplus-s0``."""
        data = "".join(c if c.isalnum() else "-" for c in self.data.partition(":")[0])
        return f"gan-{data}-{self.norm}-{self.loss}-s{self.seed}"

    def to_dict(self) -> dict[str, Any]:
        """Return the settings by name, in the form that the store keeps."""
        return {"model": "gan", **asdict(self)}

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Self:
        """Return the configuration with settings read from a store. Other entries, such as ``model``, are ignored."""
        known = {entry.name for entry in fields(cls)}
        return cls(**{name: value for name, value in settings.items() if name in known})

    def train(self, **arguments: Any) -> Ended:
        """Train generator and critic to the end; the arguments are those of :func:`dynamics.gan.run.run`."""
        from dynamics.gan.run import run

        return run(self, **arguments)

    @classmethod
    def check(cls, configs: Iterable[Self], *, data_dir: str | PathLike[str] = "data", download: bool = False) -> None:
        """Raise for configurations that cannot run, before any run is trained; download each data set once.

        Raises:
            ValueError: A data set or device is unknown, or images are larger than 32x32.
            FileNotFoundError: A data set is missing.
        """
        from dynamics.data.sources import load_data
        from dynamics.gan.images import padded
        from dynamics.runtime.device import choose_device

        configs = list(configs)
        for device in sorted({config.device for config in configs}):
            choose_device(device)
        for name in sorted({config.data for config in configs}):
            padded(load_data(name, data_dir=data_dir, download=download))


def loss_settings(norm: str, loss: str = "") -> dict[str, Any]:
    """Return the settings ``loss`` and ``critic_steps`` for a critic's norm, as in the paper's Table II.

    The norms bn and none train with the Wasserstein loss and gradient penalty, the others with the softplus loss.

    Args:
        norm: Normalisation of the critic.
        loss: Name of the loss, with its critic steps; empty: the loss of the norm.

    Raises:
        ValueError: There is no such loss.
    """
    from dynamics.gan.losses import loss_named

    loss = loss or LOSS_OF_NORM.get(norm, DEFAULT_LOSS)
    return {"loss": loss, "critic_steps": loss_named(loss).critic_steps}
