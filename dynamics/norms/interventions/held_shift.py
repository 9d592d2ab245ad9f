"""A shift that training does not learn: one number for all channels, or one share of each channel's deviation."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from dynamics.norms.interventions.shift import Shift


class HeldShift(Shift):
    """``m = value`` in every channel at every step; 0 removes the shift."""

    learned: ClassVar[bool] = False

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def values(self, deviation: Tensor) -> Tensor:
        """Return the value."""
        return deviation.new_full((), self.value)

    def extra_repr(self) -> str:
        """Return the settings that ``repr`` shows."""
        return f"{self.value}"


class InjectedDrift(HeldShift):
    """``m = value * deviation of the channel``: a drift of that many standard deviations from the first step on."""

    in_deviations: ClassVar[bool] = True

    def values(self, deviation: Tensor) -> Tensor:
        """Return ``value`` times the deviation of each channel."""
        return self.value * deviation
