"""The parameters of a model: every tensor that an optimizer may train, with its name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from torch import nn

from probes.model.selection import canonical_name


@dataclass(frozen=True, eq=False)
class Parameter:
    """One parameter of the model.

    Attributes:
        name: The dotted name without wrappers and "parametrizations".
        index: Position among the parameters, from 0.
        module: The module that owns it.
        attribute: The name of the parameter in that module.
    """

    name: str
    index: int
    module: nn.Module = field(repr=False)
    attribute: str

    @property
    def value(self) -> nn.Parameter | None:
        """The current parameter: it may have been replaced in the module."""
        try:
            now = self.module._parameters.get(self.attribute)  # getattr takes ten times as long
        except AttributeError:  # TorchScript
            now = getattr(self.module, self.attribute, None)
        return now if isinstance(now, nn.Parameter) else None


def parameters_of(root: nn.Module) -> tuple[Parameter, ...]:
    """Return all floating-point parameters, each once, in the order of the modules.

    A parametrized weight has the name of the weight (``conv.weight``). If several parameters make the weight, each has
    its own name (``conv.weight.original0``).
    """
    found: list[Parameter] = []
    seen: set[int] = set()
    for module_name, module in root.named_modules():
        for attribute, parameter in module._parameters.items():
            if parameter is None or id(parameter) in seen or not _is_trainable_kind(parameter):
                continue
            seen.add(id(parameter))
            found.append(Parameter(_name(module_name, attribute), len(found), module, attribute))
    return tuple(found)


def _is_trainable_kind(parameter: nn.Parameter) -> bool:
    return parameter.is_floating_point() or parameter.is_complex()


def _name(module_name: str, attribute: str) -> str:
    return ".".join(_parts(module_name, attribute))


def _parts(module_name: str, attribute: str) -> Iterator[str]:
    parts = [part for part in canonical_name(module_name).split(".") if part]
    inside = "parametrizations" in parts
    yield from (part for part in parts if part != "parametrizations")
    if not (inside and attribute == "original"):
        yield attribute
