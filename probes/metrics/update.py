"""How far and in which direction an optimizer step moved a parameter."""

from __future__ import annotations

import torch
from torch import Tensor

from probes.metrics.length import l2_norms
from probes.metrics.metric import Metric
from probes.schema import Column


def update_size_and_angle(pairs: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Return relative size and angle of the step from W to W', ``(2, layers)`` float64.

    ``ratio = |D| / |W|``, ``angle = atan2(|D - c W|, |W| (1 + c))`` with ``D = W' - W`` and ``c = <W, D> / |W|^2``: the
    angle between W and W', exact for small steps where ``acos`` is not. A parameter of 0 gives an infinite or NaN
    ratio, no elements NaN, NaN in NaN out. Source of the angle: Wan et al. 2021, spherical motion dynamics.
    """
    before = [pair[0] for pair in pairs]
    steps = list(torch._foreach_sub([pair[1] for pair in pairs], before))
    weight, step = l2_norms(before), l2_norms(steps)
    products = torch.stack([torch.dot(w.reshape(-1), d.reshape(-1)) for w, d in zip(before, steps, strict=True)])
    along = products.double() / weight.square()
    parallel = torch._foreach_mul(before, [c.to(w.dtype) for c, w in zip(along.unbind(), before, strict=True)])
    across = l2_norms(list(torch._foreach_sub(steps, parallel)))
    return torch.stack([step / weight, torch.atan2(across, weight * (1 + along))])


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
