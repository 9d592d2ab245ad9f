"""Loss and gradient along the direction of the gradient: how well the gradient predicts both there."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from dynamics.landscape.batch_loss import BatchLoss, flat

STEP_LENGTHS = tuple(
    0.005 * 2**k for k in range(8)
)  # 0.005 to 0.64: lengths of plain gradient steps, independent of the optimizer's learning rate


def along_gradient(loss: BatchLoss, *, step_lengths: Sequence[float] = STEP_LENGTHS) -> dict[str, float]:
    """Return the variation of loss L and gradient g over ``w - eta g(w)``, for the step lengths eta.

    - ``loss_along_gradient_min``, ``loss_along_gradient_max``: range of ``L(w - eta g)``;
    - ``gradient_change_min``, ``gradient_change_max``: range of ``|g(w - eta g) - g(w)|``, gradient predictiveness;
    - ``effective_smoothness``: ``max |g(w - eta g) - g(w)| / (eta |g(w)|)``, NaN if ``g(w)`` is zero;
    - ``batch_gradient_norm``: ``|g(w)|``.

    All parameters move. Cost: one gradient, and one for each step length. NaN at any point gives NaN.

    Args:
        loss: The loss on one batch.
        step_lengths: eta, each above 0.

    Raises:
        ValueError: There is no step length, or a step length is not above 0.

    Source: Santurkar, Tsipras, Ilyas and Madry 2018, section 3.1 and Fig. 4.
    """
    if not step_lengths or min(step_lengths) <= 0:
        raise ValueError(f"step_lengths {tuple(step_lengths)}: expected at least one, each above 0.")
    here = loss.gradient(loss.parameters)
    g = flat(here.gradient)
    losses, changes = [], []
    for eta in step_lengths:
        there = loss.gradient({name: p - eta * here.gradient[name] for name, p in here.point.items()})
        losses.append(there.loss)
        changes.append(torch.linalg.vector_norm(flat(there.gradient) - g))
    length = torch.linalg.vector_norm(g)
    along, change = torch.stack(losses), torch.stack(changes)
    distances = length * torch.tensor(step_lengths, dtype=length.dtype, device=length.device)
    return {
        "loss_along_gradient_min": float(along.min()),
        "loss_along_gradient_max": float(along.max()),
        "gradient_change_min": float(change.min()),
        "gradient_change_max": float(change.max()),
        "effective_smoothness": float((change / distances).max()),
        "batch_gradient_norm": float(length),
    }
