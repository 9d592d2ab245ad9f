"""Observing outputs from inside a compiled graph.

A forward hook that Dynamo traces cannot run Python at run time. It calls one opaque operator instead, and the operator
runs Python. The graph stays whole, one graph serves recorded and unrecorded steps, and an unrecorded step costs one
call.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from probes.gaps import Gaps
from probes.hooks.torch_internals import emulates_precision_casts, is_captured

_numbers = itertools.count()
_taps: WeakValueDictionary[int, GraphTap] = WeakValueDictionary()


class GraphTap:
    """A call in a compiled graph that passes a layer's output and its input to a function."""

    def __init__(self, see: Callable[[Tensor, Tensor], None], device: torch.device) -> None:
        self.see = see
        self.number = next(_numbers)
        # The operator claims to change this: a graph would otherwise drop a call that returns nothing.
        self.token = torch.zeros(1, device=device)
        _taps[self.number] = self

    def __call__(self, output: Tensor, given: Tensor) -> None:
        """Add the call to the graph that Dynamo is tracing."""
        torch.ops.meandrift.tap(output.detach(), given.detach(), self.token, self.number)


class CompiledPasses:
    """Limits of compiled graphs, each reported once: gradients that are not seen, different rounding, CUDA graphs.

    Attributes:
        replayed: Whether a part of the model became a CUDA graph.
    """

    def __init__(self) -> None:
        self._without_gradient = self._rounded = self.replayed = False

    def note(self, output: Tensor, *, gradient_wanted: bool) -> None:
        """Note an output seen from inside a compiled graph, and whether its gradient was to be seen as well."""
        self._without_gradient |= gradient_wanted
        self._rounded |= output.dtype in (torch.bfloat16, torch.float16)

    def in_cuda_graph(self, output: Tensor) -> bool:
        """Return whether an output belongs to a pass that becomes a CUDA graph.

        No tensor of such a pass may be kept.
        """
        captured = is_captured(output)
        self.replayed |= captured
        return captured

    def report(self, gaps: Gaps, *, asked: bool) -> None:
        """Report the limits that were met.

        Warn of gradients only if the user asked for them by name.
        """
        if self.replayed:
            gaps.warn(
                what="activations",
                why="null inside CUDA graphs, which are replayed without Python. Compile in another mode than"
                ' "reduce-overhead" to record them',
            )
        if self._without_gradient:
            (gaps.warn if asked else gaps.note)(
                what="activation gradients",
                why="null in compiled layers: reading them in a compiled graph changes the last bits of the training",
            )
        if self._rounded and not emulates_precision_casts():
            gaps.warn(
                what="reduced precision in a compiled graph",
                why="Inductor rounds the outputs that are observed, and would not round them between fused operations."
                " The training may differ in the last bits from one without a probe. Set"
                " torch._inductor.config.emulate_precision_casts = True in both, or record no metric of activations",
            )
        self._without_gradient = self._rounded = False


@torch.library.custom_op("meandrift::tap", mutates_args=("token",))
def _tap(output: Tensor, given: Tensor, token: Tensor, number: int) -> None:  # noqa: ARG001 - see GraphTap
    tap = _taps.get(number)
    if tap is not None:  # a graph outlives the probe that was traced into it
        tap.see(output, given)


@_tap.register_fake
def _(output: Tensor, given: Tensor, token: Tensor, number: int) -> None:  # noqa: ARG001
    return None
