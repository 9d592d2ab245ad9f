"""The relative size and the angle of an optimizer step, and how much of it is along the weight."""

from __future__ import annotations

import torch
from torch import Tensor

from probes.metrics.flat import PIECE, flat
from probes.metrics.foreach import differences, products
from probes.metrics.l2_norm import l2_norms
from probes.metrics.metric import Metric
from probes.metrics.rows import InRows
from probes.metrics.waiting import looks_wait
from probes.schema import Column

_MOSTLY_ACROSS = 0.5  # up to this share of |D|^2 along W, |D|^2 - <W, D>^2 / |W|^2 keeps all digits of float32


def update_size_and_angle(pairs: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Return relative size, angle and alignment of the step from W to W', ``(3, layers)`` float64.

    ``ratio = |D| / |W|``, ``angle = atan2(|D - c W|, |W| (1 + c))`` and ``alignment = <W, D> / (|W| |D|)`` with
    ``D = W' - W`` and ``c = <W, D> / |W|^2``. The angle between W and W' is exact for small steps where ``acos`` is
    not. ``|D - c W|`` follows from the lengths by Pythagoras if D is not mostly along W. Otherwise, and always on a
    GPU, the difference itself is computed. A parameter of 0 gives an infinite or NaN ratio. A step of 0 gives a NaN
    alignment. No elements give NaN, and NaN gives NaN. Source of the angle: Wan et al. 2021, spherical motion dynamics.
    """
    alike = [(w, v) if w.stride() == v.stride() else (w.contiguous(), v.contiguous()) for w, v in pairs]
    if looks_wait(alike[0][0]):
        return _on_device(alike)
    before, after = [flat(w) for w, _ in alike], [flat(v) for _, v in alike]
    weight, step, dots = _lengths_and_products(before, after)
    along = dots / weight.square()
    parallel = dots.square() / weight.square()
    across = (step.square() - parallel).clamp_min(0).sqrt()
    unclear = (~(parallel <= _MOSTLY_ACROSS * step.square())).nonzero()[:, 0].tolist()
    if unclear:
        steps = differences([after[i] for i in unclear], [before[i] for i in unclear])
        shares = products([before[i] for i in unclear], [along[i].to(before[i].dtype) for i in unclear])
        exact = l2_norms(differences(steps, shares))
        across = exact if len(unclear) == len(pairs) else across.index_copy(0, torch.tensor(unclear), exact)
    return _columns(weight, step, dots, along, across)


def _columns(weight: Tensor, step: Tensor, dots: Tensor, along: Tensor, across: Tensor) -> Tensor:
    return torch.stack([step / weight, torch.atan2(across, weight * (1 + along)), dots / (weight * step)])


def _on_device(pairs: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Compute ``D - c W`` itself for all steps, a few million elements at a time, without reading a value."""
    before, after = (InRows(tensors) for tensors in zip(*pairs, strict=True))
    weight, step, dots, across = torch.zeros(4, len(pairs), dtype=torch.float64, device=pairs[0][0].device)
    for old, new in zip(before, after, strict=True):
        moved = new.values - old.values
        old.add_to(weight, old.values.double().square_().sum(1))
        old.add_to(step, moved.double().square_().sum(1))
        old.add_to(dots, (moved.double() * old.values).sum(1))
    along = dots / weight
    for old, new in zip(before, after, strict=True):
        apart = new.values - old.values - old.values * old.of_rows(along)
        old.add_to(across, apart.double().square_().sum(1))
    return _columns(weight.sqrt(), step.sqrt(), dots, along, across.sqrt())


def _lengths_and_products(before: list[Tensor], after: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``|W|``, ``|D|`` and ``<W, D>`` of each step, float64.

    On the CPU large parameters are processed in pieces. For the difference of 30 million parameters, the system takes
    longer to provide the memory than the sums take.
    """
    large = [i for i, w in enumerate(before) if len(w) > PIECE]
    small = [i for i, w in enumerate(before) if len(w) <= PIECE]
    found = torch.empty(3, len(before), dtype=torch.float64)
    if small:
        found[:, small] = torch.stack(_of_whole([before[i] for i in small], [after[i] for i in small]))
    for i in large:
        pieces = zip(before[i].split(PIECE), after[i].split(PIECE), strict=True)
        weight, step, dot = torch.cat([torch.stack(_of_whole([w], [v])) for w, v in pieces], dim=1)
        found[:, i] = torch.stack([weight.square().sum().sqrt(), step.square().sum().sqrt(), dot.sum()])
    weight, step, dots = found
    return weight, step, dots


def _of_whole(before: list[Tensor], after: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    steps = differences(after, before)
    weight, step = l2_norms([*before, *steps]).chunk(2)
    return weight, step, torch.stack([torch.dot(w, d) for w, d in zip(before, steps, strict=True)]).double()


_PARAMETER = "parameter, before and after the optimizer step"

UPDATE = Metric(
    "update",
    "updates",
    "update",
    update_size_and_angle,
    (
        Column("update_ratio", "1", "|W' - W| / |W|", _PARAMETER),
        Column("update_angle", "rad", "angle between W and W'", _PARAMETER, "Wan et al. 2021"),
        Column("update_alignment", "1", "<W, W' - W> / (|W| |W' - W|): 1 where the weight only grows", _PARAMETER),
    ),
    after_update=True,
)
