"""The GAN loop: critic steps, a generator step, and so on."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING

import torch

from dynamics.gan.samples import noise
from dynamics.gan.steps import critic_gradients, generator_gradients
from dynamics.seeding import generator as stream

if TYPE_CHECKING:
    from torch import Tensor

    from dynamics.data.batches import TrainingBatches
    from dynamics.gan.config import GanConfig
    from dynamics.gan.losses import Loss
    from dynamics.gan.players import Players
    from dynamics.training import Observer

TRAIN = "train"


def train_gan(
    players: Players,
    batches: TrainingBatches,
    *,
    config: GanConfig,
    loss: Loss,
    start: int = 0,
    probe: Observer | None = None,
) -> Iterator[int]:
    """Train and yield the number of generator steps taken, after each.

    Every batch and every noise vector is a function of the seed and of the number of its step, so a run that is stopped
    and resumed goes on bit for bit. The loop ends at ``config.steps``.

    With a probe on both optimizers, ``step`` in the store counts critic steps: it ends when the generator, or the
    critic again, steps. Of ``config.critic_steps`` critic steps the generator shares the last one's number, and that
    step has the row in table ``steps``: what the generator saw, and what the critic saw last.

    Args:
        players: What is trained; both networks are put into training mode.
        batches: Real images in -1..1.
        config: The run's settings.
        loss: The pair of losses.
        start: Generator steps already taken.
        probe: Listens to both optimizers by itself; here it is told epoch, losses and outputs.
    """
    critic, generator = players.critic.train(), players.generator.train()
    device = next(critic.parameters()).device
    reals = real_images(batches, start=start * config.critic_steps)
    for step in range(start, config.steps):
        for number in range(step * config.critic_steps, (step + 1) * config.critic_steps):
            epoch, real = next(reals)
            z = noise(len(real), config.latent, seed=config.seed, use="critic", number=number).to(device)
            with torch.no_grad():
                fake = generator(z)
            seen = critic_gradients(critic, real, fake, loss=loss, generator=stream(config.seed, "penalty", number))
            if probe is not None:
                probe.epoch = epoch
            players.critic_optimizer.step()
        z = noise(config.batch_size, config.latent, seed=config.seed, use="generator", number=step).to(device)
        seen |= generator_gradients(generator, critic, z, loss=loss)
        if probe is not None:
            probe.log(split=TRAIN, generator_step=step, **seen)
        players.generator_optimizer.step()
        if players.average is not None:
            players.average.update_parameters(generator)
        yield step + 1


def real_images(batches: TrainingBatches, *, start: int = 0) -> Iterator[tuple[int, Tensor]]:
    """Yield epoch and images of one batch after another, without end, from batch number ``start``."""
    first_epoch, skip = divmod(start, len(batches))
    for epoch in count(first_epoch):
        for images, _ in batches.epoch(epoch, start=skip if epoch == first_epoch else 0):
            yield epoch, images
