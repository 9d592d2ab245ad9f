"""Interface of a normalisation: a change of each layer's weight, a module behind the layer, or both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn


def unchanged(layer: nn.Module) -> nn.Module:
    """Return the layer unchanged: its weight is not normalised."""
    return layer


@dataclass(frozen=True)
class Norm:
    """One normalisation, as the models apply it.

    Attributes:
        name: The name on the command line and in the tables.
        source: Equation or paper.
        weight: Reparametrises a layer's weight in place and returns the layer.
        module: ``(channels, spatial dimensions) -> module`` that stands between the layer and its activation; None for
            a norm of only weights.
        once: True: the module is part of the layer before it (Eq. 7) and acts once on a channel that many layers read.
            False, as for batch norm: each layer that reads the channel has its own module.
        whole_model: ``(model, example input) -> model``, called after the model is built, for a norm that must know
            the size of each layer's input. It changes every linear and convolution layer.
    """

    name: str
    source: str
    weight: Callable[[nn.Module], nn.Module] = unchanged
    module: Callable[[int, int], nn.Module] | None = None
    once: bool = False
    whole_model: Callable[[nn.Module, Tensor], nn.Module] | None = None

    @property
    def changes_weight(self) -> bool:
        """Whether the norm reparametrises the layers' weights."""
        return self.weight is not unchanged
