"""The changes that a conversion made to a network, in words."""

from __future__ import annotations

from torch import nn
from torch.nn.utils import parametrize

from dynamics.norms.spectral.spectral_norm import SpectralNorm
from dynamics.norms.spectral.stacked_matrices import STACKED, StackedSpectralNorm
from dynamics.norms.surgery.layer_norms import LAYER_NORMS
from dynamics.norms.surgery.overridden_forward import NORM_MODULES
from dynamics.norms.weight_matrix import WITH_MATRIX

SHOWN = 6  # modules that a line names
_OTHERS = (nn.GroupNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d, nn.RNNBase)


def described(model: nn.Module) -> dict[str, str]:
    """Return a description of each layer and norm by name: its kind, and its tensors divided by their spectral norm."""
    kinds = (*WITH_MATRIX, *STACKED, *NORM_MODULES, *LAYER_NORMS, *_OTHERS)
    return {name: _description(module) for name, module in model.named_modules() if isinstance(module, kinds)}


def changes(before: dict[str, str], model: nn.Module) -> list[str]:
    """Return a line for each kind of change, and one for each kind of module that was kept.

    Args:
        before: The result of :func:`described` before the conversion.
        model: The network after the conversion.
    """
    now = dict(model.named_modules())
    kinds: dict[tuple[str, str], list[str]] = {}
    for name, old in before.items():
        kinds.setdefault((old, _description(now[name])), []).append(name or "the model itself")
    changed = [f"{_counted(old, names)} -> {new}: {_named(names)}" for (old, new), names in kinds.items() if old != new]
    kept = [f"kept {_counted(old, names)}: {_named(names)}" for (old, new), names in kinds.items() if old == new]
    return changed + kept


def _description(module: nn.Module) -> str:
    if not parametrize.is_parametrized(module):
        inner = ", ".join(type(child).__name__ for child in module) if isinstance(module, nn.Sequential) else ""
        return f"{type(module).__name__}({inner})" if inner else type(module).__name__
    chains = dict(module.parametrizations.items())  # type: ignore[union-attr, operator]
    divided = [name for name, chain in chains.items() if isinstance(chain[0], (SpectralNorm, StackedSpectralNorm))]
    others = [name for name in chains if name not in divided]
    parts = ([f"{', '.join(divided)} / sigma"] if divided else []) + [f"{name} reparametrised" for name in others]
    return f"{type(module).__bases__[0].__name__} with {', '.join(parts)}"


def _counted(kind: str, names: list[str]) -> str:
    return f"{len(names)} {kind}"


def _named(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"
