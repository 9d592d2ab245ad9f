"""The weight computed before a forward, kept until the layer uses it."""

from __future__ import annotations

import torch
from torch import Tensor


class PrecomputedWeight:
    """At most one weight, which the first use of a layer takes.

    A checkpoint (not reentrant) lets go what the forward saved and makes the forward again within the backward: it must
    find the same weight there. So while saved tensors are hooked, the weight stays here until the next one is put.
    """

    def __init__(self) -> None:
        self._weight: Tensor | None = None
        self._again: Tensor | None = None

    def put(self, weight: Tensor) -> None:
        """Have a weight ready for the next use."""
        self._weight, self._again = weight, None

    def take(self) -> Tensor | None:
        """Return the weight that is ready, once; within a backward the one of its forward, if that was kept."""
        weight, self._weight = self._weight, None
        if weight is None:
            return self._again if self._again is not None and _in_backward() else None
        if _saved_tensors_are_hooked():
            self._again = weight
        return weight

    def forget(self) -> None:
        """Let go a weight that no use has taken."""
        self._weight = None

    def __bool__(self) -> bool:
        """Whether the next use finds a weight."""
        return self._weight is not None

    def __reduce__(self) -> tuple[type, tuple[()]]:
        """Copy and pickle as empty: a weight hangs on a graph."""
        return type(self), ()


def _in_backward() -> bool:
    # Private in torch, as is the next. Without it a checkpointed layer makes a power iteration of its own, and torch
    # complains.
    current = getattr(torch._C, "_current_graph_task_id", None)
    return current is not None and current() != -1


def _saved_tensors_are_hooked() -> bool:
    hooks = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)
    return hooks is not None and hooks(False) is not None
