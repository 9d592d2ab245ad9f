"""An intervention: which parts of a norm are changed, and the norm with these parts."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from torch import nn

from dynamics.norms.interventions.centring import InterventionalCentring
from dynamics.norms.interventions.centring_forms import FORMS
from dynamics.norms.interventions.held_shift import HeldShift, InjectedDrift
from dynamics.norms.interventions.random_walk import RandomWalk
from dynamics.norms.interventions.replayed_means import ReplayedMeans
from dynamics.norms.interventions.shift import Shift
from dynamics.norms.interventions.target_sigma import with_sigma
from dynamics.norms.norm import Norm

OWN = "own"  # the norm's own part
SCALES = (OWN, "none", "learned")
MEANS = (OWN, "zero", "learned", "fixed:VALUE", "deviations:VALUE", "walk:SIZE", "replay:FILE")
_NUMBERED = ("fixed", "deviations", "walk")
_OWN_PARTS = {"msn": ("full", "learned", "none"), "wn_mean": ("full", "learned", "none")} | {
    "released_msn": ("full", "learned", "learned")
}  # centring, m and scale of the norms with a centring; norms of only weights have none of the three


@dataclass(frozen=True, kw_only=True)
class Intervention:
    """Changes of a norm's parts; the default changes none.

    Attributes:
        centring: The passes in which the mean acts: ``own``, or a form of
            :mod:`~dynamics.norms.interventions.centring_forms`.
        strength: Share of the mean that is subtracted.
        momentum: Weight of the newest batch in the running mean.
        mean: m of each channel: ``own``, ``zero``, ``learned``, ``fixed:VALUE``, ``deviations:VALUE``, ``walk:SIZE`` or
            ``replay:FILE``.
        scale: Scale of each channel: ``own``, ``none`` or ``learned``.
        sigma: Spectral norm of the weights.

    Raises:
        ValueError: A part is unknown, or a number is out of range.
    """

    centring: str = OWN
    strength: float = 1.0
    momentum: float = 0.1
    mean: str = OWN
    scale: str = OWN
    sigma: float = 1.0

    def __post_init__(self) -> None:
        if self.centring not in (OWN, *FORMS):
            raise ValueError(f"centring {self.centring!r}: expected one of {OWN}, {', '.join(FORMS)}.")
        if self.scale not in SCALES:
            raise ValueError(f"channel_scale {self.scale!r}: expected one of {', '.join(SCALES)}.")
        if not math.isfinite(self.strength):
            raise ValueError(f"centring_strength {self.strength}: expected a number.")
        if not 0 < self.momentum <= 1:
            raise ValueError(f"centring_momentum {self.momentum}: expected a number above 0, at most 1.")
        if not (math.isfinite(self.sigma) and self.sigma > 0):
            raise ValueError(f"sigma {self.sigma}: expected a number above 0.")
        _check_mean(self.mean)

    def applied(self, norm: Norm) -> Norm:
        """Return the norm with its parts changed; the norm itself if nothing changes.

        Raises:
            ValueError: The norm has a module that is no centring, such as batch norm, or no centring to weaken.
        """
        norm = with_sigma(norm, self.sigma)
        if self == replace(Intervention(), sigma=self.sigma):
            return norm
        if norm.module is not None and norm.name not in _OWN_PARTS:
            raise ValueError(
                f"norm {norm.name!r} standardises its input: interventions on centring, mean and scale are of norms of "
                f"weights alone, and of {', '.join(_OWN_PARTS)}."
            )
        own = _OWN_PARTS.get(norm.name, ("none", "zero", "none"))
        wanted = (self.centring, self.mean, self.scale)
        form, mean, scale = (mine if part == OWN else part for part, mine in zip(wanted, own, strict=True))
        if form == "none" and self.strength != 1:
            raise ValueError(f"centring_strength {self.strength:g}: norm {norm.name!r} has no centring to weaken.")

        def module(channels: int, _dimensions: int) -> nn.Module:
            return InterventionalCentring(
                channels,
                form=form,
                shift=_shift(mean, channels),
                strength=self.strength,
                scale=scale == "learned",
                momentum=self.momentum,
            )

        return replace(norm, module=module, once=norm.once or norm.module is None)


def _check_mean(mean: str) -> None:
    kind, _, value = mean.partition(":")
    if kind in _NUMBERED:
        try:
            good = math.isfinite(float(value))
        except ValueError:
            good = False
        if not good:
            raise ValueError(f"channel_mean {mean!r}: expected a number behind {kind!r}, such as {kind}:0.5.")
    elif mean not in (OWN, "zero", "learned") and not (kind == "replay" and value):
        raise ValueError(f"channel_mean {mean!r}: expected one of {', '.join(MEANS)}.")


def _shift(mean: str, channels: int) -> Shift:
    kind, _, value = mean.partition(":")
    if kind == "replay":
        return ReplayedMeans(channels, value)
    if kind == "walk":
        return RandomWalk(channels, float(value))
    if kind == "deviations":
        return InjectedDrift(float(value))
    return Shift() if mean == "learned" else HeldShift(float(value or 0))
