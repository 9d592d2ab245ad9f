"""The shift m of each channel: learned, or a number that an intervention decides."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn


class Shift(nn.Module):
    """A learned m, as in Eq. 7. A subclass decides m itself, before each forward.

    A subclass that changes with time counts training forwards, which are optimizer steps where a step has one
    micro-batch.

    Attributes:
        learned: Training learns m; no method is called then.
        in_deviations: :meth:`values` needs the deviation of each channel.
    """

    learned: ClassVar[bool] = True
    in_deviations: ClassVar[bool] = False

    def bind(self, layer: str, seed: int) -> None:
        """Learn which layer of the network this is, before the first forward, and the seed of the run."""

    def values(self, deviation: Tensor) -> Tensor:
        """Return m at the present step, ``(C,)`` or a scalar.

        Args:
            deviation: Standard deviation of each channel before the shift, ``(C,)``: the running one, which training
                and evaluation share, so that no gradient flows through it.
        """
        raise NotImplementedError(f"{type(self).__name__} is learned: its value is the parameter's")

    def advance(self) -> None:
        """Go on to the next step."""


def bind_shifts(model: nn.Module, *, seed: int) -> nn.Module:
    """Tell every shift of a network its layer's name and the run's seed; return the network.

    Raises:
        ValueError: A replayed shift has no such layer in its file.
    """
    for name, module in model.named_modules():
        if isinstance(module, Shift):
            module.bind(name.rpartition(".")[0], seed)
    return model
