"""The lengths of the micro-batches' contributions to a gradient, for the gradient noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from probes.layers import Layer, raw_parameter


class MicroBatchWatch:
    """Hooks on the parameters that see each backward pass's contribution before it is added to the gradient.

    With a single backward pass a step nothing is computed. Sharded parameters (FSDP2) do not call such hooks, and their
    noise stays null.
    """

    def __init__(self, layers: Sequence[Layer], *, report: Callable[[str, Exception], None]) -> None:
        """Attach a hook to each observed parameter that is trained."""
        self._report = report
        self._armed = False
        self._counts: dict[int, int] = {}
        self._arriving: dict[int, tuple[Tensor, Tensor]] = {}  # |d_1 + ... |^2 before and |d_i|^2, not yet added
        self._squares: dict[int, tuple[Tensor, Tensor]] = {}  # sum |d_i|^2 and |sum d_i|^2, by layer
        self._handles = []
        for layer in layers:
            parameter = raw_parameter(layer)
            if parameter is not None and parameter.requires_grad:
                self._handles.append(parameter.register_hook(self._guarded(self._arrive, layer, parameter)))
                add = self._guarded(self._add, layer, parameter)
                self._handles.append(parameter.register_post_accumulate_grad_hook(add))

    def arm(self, wanted: bool) -> None:
        """Forget the last step; measure in the next one if wanted."""
        self._armed = wanted
        self._counts.clear()
        self._arriving.clear()
        self._squares.clear()

    def take(self, layer: Layer, gradient: Tensor) -> Tensor | None:
        """Return ``[N, sum |d_i|^2, |sum d_i|^2, |g|^2 as used, n]`` of a layer; None where ``N < 2``."""
        if layer.index not in self._squares:
            return None
        each, whole = self._squares[layer.index]
        count = torch.tensor(float(self._counts[layer.index]), dtype=torch.float64)
        n = torch.tensor(float(gradient.numel()), dtype=torch.float64)
        device = each.device
        return torch.stack([_there(count, device), each, whole, _square(gradient), _there(n, device)])

    def remove(self) -> None:
        """Remove the hooks."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _guarded(
        self, act: Callable[[int, Tensor, Tensor], None], layer: Layer, parameter: Tensor
    ) -> Callable[[Tensor], None]:
        def hook(given: Tensor) -> None:
            if self._armed and not torch.compiler.is_compiling():
                try:
                    with torch.no_grad():
                        act(layer.index, parameter, given.detach())
                except Exception as failure:
                    self._report(f"micro-batch gradient of layer {layer.name!r}", failure)

        return hook

    def _arrive(self, index: int, parameter: Tensor, contribution: Tensor) -> None:
        """Measure a contribution. Whether it will be added is not known yet: autograd.grad calls this hook too."""
        if self._counts.get(index) and parameter.grad is not None:
            self._arriving[index] = _square(parameter.grad), _square(contribution)

    def _add(self, index: int, parameter: Tensor, _: Tensor) -> None:
        self._counts[index] = self._counts.get(index, 0) + 1
        arrived = self._arriving.pop(index, None)
        if arrived is not None and parameter.grad is not None:
            before, contribution = arrived
            each = self._squares[index][0] if index in self._squares else before
            self._squares[index] = each + contribution, _square(parameter.grad)


def _square(tensor: Tensor) -> Tensor:
    return torch.linalg.vector_norm(tensor, dtype=torch.float32).double().square()


def _there(number: Tensor, device: torch.device) -> Tensor:
    return number if device.type == "cpu" else number.to(device, non_blocking=True)
