"""The losses of critic and generator, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Loss:
    """A pair of losses, as functions of only the critic's outputs.

    Attributes:
        name: The name on the command line.
        source: Equation or paper.
        critic: ``(D(x), D(G(z))) -> loss`` of the critic, a scalar.
        generator: ``D(G(z)) -> loss`` of the generator, a scalar.
        penalty: Weight of the gradient penalty in the critic's loss; 0 for none.
        critic_steps: Critic steps before each generator step, as in the source.
    """

    name: str
    source: str
    critic: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]
    penalty: float = 0.0
    critic_steps: int = 1


def softplus_critic(real: Tensor, fake: Tensor) -> Tensor:
    """``E[softplus(-D(x))] + E[softplus(D(G(z)))]``: Eq. 11 negated; its D(x) is the sigmoid of D(x) here."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def softplus_generator(fake: Tensor) -> Tensor:
    """``E[softplus(-D(G(z)))]``: Goodfellow's non-saturating form of Eq. 11, as in the released script."""
    return F.softplus(-fake).mean()


def wasserstein_critic(real: Tensor, fake: Tensor) -> Tensor:
    """``E[D(G(z))] - E[D(x)]``: minus the estimated Wasserstein-1 distance."""
    return fake.mean() - real.mean()


def wasserstein_generator(fake: Tensor) -> Tensor:
    """``-E[D(G(z))]``."""
    return -fake.mean()


def hinge_critic(real: Tensor, fake: Tensor) -> Tensor:
    """``E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))]``."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


_ALL = (
    Loss("softplus", "Eq. 11 as released; Goodfellow et al. 2014", softplus_critic, softplus_generator),
    Loss(
        "wasserstein", "Gulrajani et al. 2017", wasserstein_critic, wasserstein_generator, penalty=10.0, critic_steps=5
    ),
    Loss("hinge", "Lim and Ye 2017; Miyato et al. 2018", hinge_critic, wasserstein_generator),
)
LOSSES: dict[str, Loss] = {loss.name: loss for loss in _ALL}


def loss_named(name: str) -> Loss:
    """Return the loss of that name.

    Raises:
        ValueError: There is no such name; the message lists the valid names.
    """
    if name not in LOSSES:
        raise ValueError(f"no loss {name!r}: expected one of {', '.join(LOSSES)}.")
    return LOSSES[name]
