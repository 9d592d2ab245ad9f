"""The forms of centring: the batch mean acts in the forward, in the backward, in both, or as a running mean."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

FORMS = ("none", "full", "forward", "backward", "running")
SUBTRACTS_IN_EVALUATION = frozenset({"full", "forward", "running"})


def in_forward_and_backward(mean: Tensor) -> Tensor:
    """Return E[h]: ``h - E[h]`` has mean 0, and its gradient is ``G - E[G]`` (Eq. 7 and 10)."""
    return mean


def in_forward_alone(mean: Tensor) -> Tensor:
    """Return E[h] as a constant: ``h - E[h]`` has mean 0, and its gradient is G."""
    return mean.detach()


def in_backward_alone(mean: Tensor) -> Tensor:
    """Return a 0 that has the gradient of E[h]: h is not changed, and its gradient is ``G - E[G]``."""
    return mean - mean.detach()


BATCH_FORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "full": in_forward_and_backward,
    "forward": in_forward_alone,
    "backward": in_backward_alone,
}
"""The number that each form subtracts in training, as a function of the batch mean E[h] of a channel. The form
``running`` subtracts the running mean in training too, as a constant in the backward. ``none`` subtracts nothing."""
