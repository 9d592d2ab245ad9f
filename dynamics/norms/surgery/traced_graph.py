"""A network's forward as a graph whose nodes are its layers and norms."""

from __future__ import annotations

from torch import fx, nn


class _Tracer(fx.Tracer):
    """Sees layers and norms as leaves, whatever package they come from."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        ours = type(m).__module__.startswith("dynamics.norms.")
        return ours or next(m.children(), None) is None or super().is_leaf_module(m, module_qualified_name)


def trace(model: nn.Module) -> fx.Graph:
    """Return the graph of one forward.

    Raises:
        ValueError: The forward cannot be traced, because it branches on the values of tensors, say.
    """
    try:
        return _Tracer().trace(model)
    except Exception as error:
        raise ValueError(f"cannot trace the forward of {type(model).__name__}: {error}") from error
