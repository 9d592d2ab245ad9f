"""The weight computed before a forward, kept until the layer uses it."""

from __future__ import annotations

from torch import Tensor

from dynamics.norms.torch_internals import in_backward, saved_tensors_are_hooked


class PrecomputedWeight:
    """At most one weight, which the first use of a layer takes.

    Activation checkpointing (not reentrant) drops the tensors that the forward saved. It repeats the forward within the
    backward, where it needs the same weight again. While saved tensors are hooked, the weight is therefore kept until
    the next weight is put.
    """

    def __init__(self) -> None:
        self._weight: Tensor | None = None
        self._again: Tensor | None = None

    def put(self, weight: Tensor) -> None:
        """Keep a weight for the next use."""
        self._weight, self._again = weight, None

    def take(self) -> Tensor | None:
        """Return the weight, once. Within a backward, return the weight of its forward if that was kept."""
        weight, self._weight = self._weight, None
        if weight is None:
            return self._again if self._again is not None and in_backward() else None
        if saved_tensors_are_hooked():
            self._again = weight
        return weight

    def forget(self) -> None:
        """Drop a weight that no use has taken."""
        self._weight = None

    def __bool__(self) -> bool:
        """Whether a weight is kept for the next use."""
        return self._weight is not None

    def __reduce__(self) -> tuple[type, tuple[()]]:
        """Copy and pickle as empty: a weight is part of an autograd graph."""
        return type(self), ()
