"""The gradients of one GAN step: the critic's, and the generator's through the critic."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dynamics.gan.gradient_penalty import gradient_penalty

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from dynamics.gan.losses import Loss
    from dynamics.gan.train_state import Pair


def critic_gradients(
    critic: nn.Module, real: Tensor, fake: Tensor, *, loss: Loss, generator: torch.Generator
) -> dict[str, Tensor]:
    """Set the gradients of the critic's parameters; return losses and outputs as scalars on its device.

    Real and generated images pass the critic separately, as in the released script, so batch statistics never mix them.

    Args:
        critic: Maps images to ``(n, 1)``.
        real: Images in -1..1.
        fake: Generated images, of the same shape; no gradient flows back into the generator.
        loss: The pair of losses.
        generator: Draws the points of the gradient penalty, if the loss has one.

    Returns:
        ``critic_loss`` (with the penalty), ``critic_real`` = mean D(x), ``critic_fake`` = mean D(G(z)), and the
        unweighted ``gradient_penalty`` if the loss has one.
    """
    critic.zero_grad(set_to_none=True)
    on_real, on_fake = critic(real), critic(fake.detach())
    total = loss.critic(on_real, on_fake)
    seen = {"critic_real": on_real.detach().mean(), "critic_fake": on_fake.detach().mean()}
    if loss.penalty:
        penalty = gradient_penalty(critic, real, fake, generator=generator)
        total = total + loss.penalty * penalty
        seen["gradient_penalty"] = penalty.detach()
    total.backward()
    return {"critic_loss": total.detach(), **seen}


def generator_gradients(pair: Pair, z: Tensor, *, loss: Loss) -> dict[str, Tensor]:
    """Set the gradients of the generator's parameters and not the critic's; return loss and deviation.

    Args:
        pair: Both networks.
        z: Noise ``(n, latent)``.
        loss: The pair of losses.

    Returns:
        ``generator_loss`` and ``fake_deviation``. The latter is the standard deviation of each pixel over the batch,
        averaged over pixels. It is 0 if every z gives the same image (collapse), and NaN for a batch of one.
    """
    pair.generator.zero_grad(set_to_none=True)
    with _without_gradients(pair.critic):
        images, outputs = pair(z)
        total = loss.generator(outputs)
        total.backward()
    images = images.detach()
    deviation = images.std(dim=0).mean() if len(images) > 1 else images.new_tensor(float("nan"))
    return {"generator_loss": total.detach(), "fake_deviation": deviation}


@contextmanager
def _without_gradients(module: nn.Module) -> Iterator[None]:
    """Let gradients pass through a module to its input but not to its parameters, which saves a third of the work."""
    learned = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in learned:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learned:
            parameter.requires_grad_(True)
