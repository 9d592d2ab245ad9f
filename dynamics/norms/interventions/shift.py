"""The shift m of each channel: learned, or a number that an intervention sets."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn


class Shift(nn.Module):
    """A learned m, as in Eq. 7. A subclass sets m itself before each forward.

    A subclass whose m changes with time counts training forwards. These are optimizer steps if a step has one
    micro-batch.

    Attributes:
        learned: Whether training learns m. If so, no method is called.
        in_deviations: Whether :meth:`values` needs the deviation of each channel.
    """

    learned: ClassVar[bool] = True
    in_deviations: ClassVar[bool] = False

    def bind(self, layer: str, seed: int) -> None:
        """Receive the name of this shift's layer and the run's seed, before the first forward."""

    def values(self, deviation: Tensor) -> Tensor:
        """Return m at the present step, ``(C,)`` or a scalar.

        Args:
            deviation: Running standard deviation of each channel before the shift, ``(C,)``. Training and evaluation
                both use it, and no gradient flows through it.
        """
        raise NotImplementedError(f"{type(self).__name__} is learned: its value is the parameter's")

    def advance(self) -> None:
        """Advance m by one step."""


def bind_shifts(model: nn.Module, *, seed: int) -> nn.Module:
    """Pass every shift of a network its layer's name and the run's seed; return the network.

    Raises:
        ValueError: The file of a replayed shift has no such layer.
    """
    for name, module in model.named_modules():
        if isinstance(module, Shift):
            module.bind(name.rpartition(".")[0], seed)
    return model
