"""What a GAN run is: every setting that its numbers depend on, in one frozen record."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from dynamics.gan.losses import loss_named
from dynamics.norms import norm_named

# The paper's three critics: batch norm goes with the gradient penalty (WGAN-GP), spectral norms with Eq. 11. A critic
# without a norm has no bound but the penalty.
LOSS_OF_NORM = {"bn": "wasserstein", "none": "wasserstein"}
DEFAULT_LOSS = "softplus"
# Settings that a resumed run may change: they alter no step already taken.
MAY_CHANGE = frozenset({"steps", "every", "device", "sample_every", "score_every"})


@dataclass(frozen=True, kw_only=True)
class GanConfig:
    """The settings of one GAN run. The defaults are the released script's, the full-width networks included.

    Attributes:
        norm: Normalisation of the critic.
        data: Name of the data set, see :func:`dynamics.data.sources.load_data`.
        loss: One of ``LOSSES``.
        steps: Generator steps.
        critic_steps: Critic steps before each generator step.
        batch_size: Real images, and generated ones, a step.
        learning_rate: Adam's, of both networks.
        beta1: Adam's first beta.
        beta2: Adam's second beta.
        latent: Length of the noise vector.
        width: Channels of the critic's first layer, and of the generator's last but one; the others are multiples.
        ema: Decay of the average of the generator that is sampled and scored; 0 for the generator itself.
        seed: Of weights, order and noise.
        device: Where to train; ``auto`` takes a GPU where there is one.
        every: Generator steps between two records of the probe.
        sample_every: Generator steps between two grids of samples, each with a checkpoint.
        score_every: Generator steps between two scores.
        draws: Draws that the last score is the mean of; the ones before are of one.
        draw_images: Images a draw.
        reference_images: Real training images that distances are taken to; 0 for all.

    Raises:
        ValueError: A setting outside its range; the message says what came and what was expected.
    """

    norm: str = "sn"
    data: str = "mnist-subset"
    loss: str = DEFAULT_LOSS
    steps: int = 10_000
    critic_steps: int = 1
    batch_size: int = 64
    learning_rate: float = 2e-4
    beta1: float = 0.5
    beta2: float = 0.999
    latent: int = 128
    width: int = 64
    ema: float = 0.0
    seed: int = 0
    device: str = "auto"
    every: int = 50
    sample_every: int = 500
    score_every: int = 1000
    draws: int = 5
    draw_images: int = 2000
    reference_images: int = 0

    def __post_init__(self) -> None:
        whole = (
            "steps",
            "critic_steps",
            "batch_size",
            "latent",
            "width",
            "every",
            "sample_every",
            "score_every",
            "draws",
        )
        for name, least in (*((name, 1) for name in whole), ("draw_images", 2), ("reference_images", 0)):
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
        """A run id that tells this run from its neighbours: ``gan-cifar10-sn-softplus-s0``."""
        data = "".join(c if c.isalnum() else "-" for c in self.data.partition(":")[0])
        return f"gan-{data}-{self.norm}-{self.loss}-s{self.seed}"

    def to_dict(self) -> dict[str, Any]:
        """Return the settings by name, as the store keeps them."""
        return {"model": "gan", **asdict(self)}

    def fixed(self) -> dict[str, Any]:
        """Return the settings that a checkpoint and the run that goes on with it must have in common."""
        return {name: value for name, value in self.to_dict().items() if name not in MAY_CHANGE}

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Self:
        """Return the record of settings read back from a store; what is not a setting (``model``) is left out."""
        known = {entry.name for entry in fields(cls)}
        return cls(**{name: value for name, value in settings.items() if name in known})
