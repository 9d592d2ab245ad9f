"""The modules that hold observed layers: an attention, a block, a mixture of experts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import nn

from probes.model.layer import Layer


@dataclass(frozen=True)
class Container:
    """A module that is an observed layer or holds observed layers.

    Attributes:
        name: The dotted name, in the form of layers' names. For the model itself it is the class name.
        kind: Class name.
        module: The module itself.
        depth: Index of the first layer in it.
    """

    name: str
    kind: str
    module: nn.Module = field(repr=False)
    depth: int


def containers_of(modules: Sequence[tuple[str, nn.Module]], layers: Sequence[Layer]) -> tuple[Container, ...]:
    """Return the containers among some modules, in their order.

    Args:
        modules: Name and module, each module once.
        layers: The observed layers.
    """
    first: dict[int, int] = {}
    for layer in layers:
        first.setdefault(id(layer.module), layer.index)
    found = []
    for name, module in modules:
        inside = [first[id(part)] for part in module.modules() if id(part) in first]
        if inside:
            kind = type(module).__name__
            found.append(Container(name or kind, kind, module, min(inside)))
    return tuple(found)
