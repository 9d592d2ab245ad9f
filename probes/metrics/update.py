"""How far and in which direction an optimizer step moved a parameter."""

from __future__ import annotations

import torch
from torch import Tensor

from probes.metrics.metric import Metric
from probes.schema import Column


def update_size_and_angle(pairs: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Return relative size and angle of the step from W to W', ``(2, layers)`` float64.

    ``ratio = |W' - W| / |W|``, ``angle = atan2(sqrt(|W|^2 |D|^2 - <W, D>^2), |W|^2 + <W, D>)`` with ``D = W' - W``: the
    angle between W and W', exact for small steps where ``acos`` is not. A parameter of 0 gives an infinite or NaN
    ratio, no elements NaN, NaN in NaN out. Source of the angle: Wan et al. 2021, spherical motion dynamics.
    """
    before = [pair[0] for pair in pairs]
    steps = torch._foreach_sub([pair[1] for pair in pairs], before)
    weight = torch.stack(torch._foreach_norm(before)).double()
    step = torch.stack(torch._foreach_norm(steps)).double()
    along = torch.stack([torch.dot(w.reshape(-1), s.reshape(-1)) for w, s in zip(before, steps, strict=True)]).double()
    across = ((weight * step).square() - along.square()).clamp_min(0).sqrt()
    return torch.stack([step / weight, torch.atan2(across, weight.square() + along)])


_PARAMETER = "parameter, before and after the optimizer step"

UPDATE = Metric(
    "update",
    "updates",
    "update",
    update_size_and_angle,
    (
        Column("update_ratio", "1", "|W' - W| / |W|", _PARAMETER),
        Column("update_angle", "rad", "angle between W and W'", _PARAMETER, "Wan et al. 2021"),
    ),
    after_update=True,
)
