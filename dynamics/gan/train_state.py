"""The state that a GAN training changes: critic, generator, their optimizers, and the average of the generator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dynamics.gan.images import SIZE
from dynamics.models.gan import Critic, Generator
from dynamics.norms import norm_named

if TYPE_CHECKING:
    from torch import Tensor

    from dynamics.gan.config import GanConfig


class Pair(nn.Module):
    """Both networks as one module for one probe. Its layers are named ``critic.*`` and ``generator.*``.

    Args:
        critic: Maps images to ``(n, 1)``.
        generator: Maps noise to images in -1..1.
    """

    def __init__(self, critic: nn.Module, generator: nn.Module) -> None:
        super().__init__()
        self.critic, self.generator = critic, generator

    def forward(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return generated images and the critic's outputs for them."""
        images = self.generator(noise)
        return images, self.critic(images)


@dataclass(frozen=True)
class TrainState:
    """The networks and optimizers of a GAN run.

    Attributes:
        pair: The networks.
        critic_optimizer: Optimizer of the critic's parameters.
        generator_optimizer: Optimizer of the generator's parameters.
        average: Exponential average of the generator's parameters and buffers, or None.
    """

    pair: Pair
    critic_optimizer: torch.optim.Optimizer
    generator_optimizer: torch.optim.Optimizer
    average: AveragedModel | None = None

    @property
    def sampled(self) -> nn.Module:
        """The generator that is sampled and scored: the average if there is one."""
        return self.pair.generator if self.average is None else self.average.module

    def optimizers(self) -> list[torch.optim.Optimizer]:
        """Return both optimizers. The critic's comes first, because it steps first."""
        return [self.critic_optimizer, self.generator_optimizer]

    def state_dict(self) -> dict[str, Any]:
        """Return everything that training changes."""
        return {name: part.state_dict() for name, part in self._parts().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state of :meth:`state_dict`."""
        for name, part in self._parts().items():
            part.load_state_dict(state[name])

    def _parts(self) -> dict[str, Any]:
        parts = {
            "pair": self.pair,
            "critic_optimizer": self.critic_optimizer,
            "generator_optimizer": self.generator_optimizer,
            "average": self.average,
        }
        return {name: part for name, part in parts.items() if part is not None}


def new_train_state(config: GanConfig, *, in_channels: int, device: torch.device) -> TrainState:
    """Return a freshly initialised state. The weights are drawn from torch's global random generator.

    Args:
        config: The run's settings.
        in_channels: Channels of the images.
        device: Device of the training.
    """
    shape: dict[str, Any] = {"in_channels": in_channels, "image_size": SIZE, "width": config.width}
    kind = norm_named(config.norm)
    critic: nn.Module = Critic(kind, **shape)
    if kind.whole_model is not None:
        critic = kind.whole_model(critic, torch.zeros(1, in_channels, SIZE, SIZE))
    generator = Generator(norm_named("bn"), latent=config.latent, **shape)
    for network in (critic, generator):
        network.to(device).to(memory_format=torch.channels_last)
    return TrainState(
        Pair(critic, generator),
        _adam(critic, config),
        _adam(generator, config),
        averaged(generator, decay=config.ema) if config.ema else None,
    )


def averaged(generator: nn.Module, *, decay: float) -> AveragedModel:
    """Return an exponential average of a module: ``a <- decay a + (1 - decay) g`` at each update, buffers too."""
    return AveragedModel(generator, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)


def _adam(module: nn.Module, config: GanConfig) -> torch.optim.Optimizer:
    return torch.optim.Adam(module.parameters(), lr=config.learning_rate, betas=(config.beta1, config.beta2))
