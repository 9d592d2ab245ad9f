"""Observing from inside a compiled graph.

A forward hook that Dynamo traces cannot run Python of its own at run time. It calls one opaque operator instead, which
can: the graph stays whole, one graph serves recorded and unrecorded steps, and an unrecorded step costs one call.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from weakref import WeakValueDictionary

import torch
import torch._dynamo.config
from torch import Tensor

_numbers = itertools.count()
_lookouts: WeakValueDictionary[int, Lookout] = WeakValueDictionary()


class Lookout:
    """A place in a compiled graph from which a function sees two tensors, a layer's output and its input."""

    def __init__(self, see: Callable[[Tensor, Tensor], None], device: torch.device) -> None:
        self.see = see
        self.number = next(_numbers)
        # The operator claims to change this: a graph would otherwise drop a call that returns nothing.
        self.token = torch.zeros(1, device=device)
        _lookouts[self.number] = self

    def __call__(self, output: Tensor, given: Tensor) -> None:
        """Put the call into the graph that is being traced."""
        torch.ops.meandrift.look_out(output.detach(), given.detach(), self.token, self.number)


def heed_hooks() -> None:
    """Let compiled graphs be told apart by the hooks of their modules.

    By default Dynamo takes the graph of another model of the same class, without the probe's calls in it (torch's
    setting ``skip_nnmodule_hook_guards``). Graphs compiled before this call stay as they are.
    """
    torch._dynamo.config.skip_nnmodule_hook_guards = False


@torch.library.custom_op("meandrift::look_out", mutates_args=("token",))
def _look_out(output: Tensor, given: Tensor, token: Tensor, number: int) -> None:  # noqa: ARG001 - see Lookout
    lookout = _lookouts.get(number)
    if lookout is not None:  # a graph outlives the probe that was traced into it
        lookout.see(output, given)


@_look_out.register_fake
def _(output: Tensor, given: Tensor, token: Tensor, number: int) -> None:  # noqa: ARG001
    return None
