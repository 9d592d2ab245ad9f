"""The training loop of a GAN: critic steps, then one generator step."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

import torch

from dynamics.data.batches import TrainingBatches
from dynamics.data.seeding import generator as stream
from dynamics.gan.gradients import critic_gradients, generator_gradients
from dynamics.gan.scoring.samples import noise

if TYPE_CHECKING:
    from torch import Tensor

    from dynamics.data.images import DataSet
    from dynamics.gan.config import GanConfig
    from dynamics.gan.losses import Loss
    from dynamics.gan.train_state import TrainState

TRAIN = "train"


class Listener(Protocol):
    """The part of a probe that the loop calls."""

    epoch: int | None

    def log(self, *, split: str = "train", **scalars: Any) -> None:
        """Record scalars of the present step."""

    def attach(self, *, step: int | None = None) -> None:
        """Start listening, at ``step``."""

    def detach(self) -> None:
        """Stop listening."""


def train_gan(
    state: TrainState,
    batches: TrainingBatches,
    *,
    config: GanConfig,
    loss: Loss,
    start: int = 0,
    probe: Listener | None = None,
) -> Iterator[int]:
    """Train, and after each generator step yield the number of generator steps taken.

    Every batch and every noise vector is a function of the seed and of its step's number. A resumed run therefore
    continues bit for bit. The loop ends at ``config.steps``.

    ``step`` in the store counts generator steps. The probe is attached during the last critic step before each
    generator step and detached during the others. Each recorded step then has one step of each optimizer, and no row is
    lost or recorded twice.

    Args:
        state: The networks and optimizers; both networks are put into training mode.
        batches: Real images in -1..1.
        config: The run's settings.
        loss: The pair of losses.
        start: Generator steps already taken.
        probe: A probe that observes both networks by its own hooks; the loop logs epoch, losses and outputs to it.
    """
    pair = state.pair.train()
    critic, generator = pair.critic, pair.generator
    device = next(critic.parameters()).device
    reals = real_images(batches, start=start * config.critic_steps)
    for step in range(start, config.steps):
        first, last = step * config.critic_steps, (step + 1) * config.critic_steps - 1
        for number in range(first, last + 1):
            epoch, real = next(reals)
            if probe is not None and first != last:
                probe.attach(step=step) if number == last else probe.detach()
            z = noise(len(real), config.latent, seed=config.seed, use="critic", number=number).to(device)
            with torch.no_grad():
                fake = generator(z)
            seen = critic_gradients(critic, real, fake, loss=loss, generator=stream(config.seed, "penalty", number))
            if probe is not None:
                probe.epoch = epoch
            state.critic_optimizer.step()
        z = noise(config.batch_size, config.latent, seed=config.seed, use="generator", number=step).to(device)
        seen |= generator_gradients(pair, z, loss=loss)
        if probe is not None:
            probe.log(split=TRAIN, **seen)
        state.generator_optimizer.step()
        if state.average is not None:
            state.average.update_parameters(generator)
        yield step + 1


def real_batches(data: DataSet, config: GanConfig) -> TrainingBatches:
    """Return the batches of real training images, in -1..1, unaugmented."""
    half = (0.5,) * data.in_channels  # (x - 1/2) / (1/2): from 0..1 to -1..1
    return TrainingBatches(data.train, mean=half, std=half, batch_size=config.batch_size, seed=config.seed)


def real_images(batches: TrainingBatches, *, start: int = 0) -> Iterator[tuple[int, Tensor]]:
    """Yield the epoch and the images of each batch, endlessly, from batch number ``start``."""
    first_epoch, skip = divmod(start, len(batches))
    for epoch in count(first_epoch):
        for images, _ in batches.epoch(epoch, start=skip if epoch == first_epoch else 0):
            yield epoch, images
