"""A network's forward as a graph whose nodes are its layers and norms."""

from __future__ import annotations

from torch import fx, nn


class _Tracer(fx.Tracer):
    """A tracer that treats layers and norms of every package as leaves."""

    def __init__(self, leaves: tuple[type[nn.Module], ...]) -> None:
        super().__init__()
        self._leaves = leaves

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        ours = type(m).__module__.startswith("dynamics.norms.") or isinstance(m, self._leaves)
        return ours or next(m.children(), None) is None or super().is_leaf_module(m, module_qualified_name)


def trace(model: nn.Module, *, leaves: tuple[type[nn.Module], ...] = ()) -> fx.Graph:
    """Return the graph of one forward.

    Args:
        model: The network.
        leaves: Classes of further modules that are one node each, although they have children.

    Raises:
        ValueError: The forward cannot be traced, for example because it branches on the values of tensors.
    """
    try:
        return _Tracer(leaves).trace(model)
    except Exception as error:
        raise ValueError(f"cannot trace the forward of {type(model).__name__}: {error}") from error
