"""The layers before a nonlinearity, read from the autograd graph of a training pass.

The graph names each operator (``GeluBackward0``) and its arguments, whether a module, a function, a method or a fused
layer called it. The forward pass runs no extra operator. At the rare steps at which the column is due, the graph nodes
of the outputs are kept from the forward pass until the optimizer steps.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from probes.measuring.observation import Observation, Reading
from probes.metrics.nonlinearities import NONLINEARITIES
from probes.ranks import Ranks

_ENDING = re.compile(r"Backward\d*$")
_NONLINEAR = {"".join(part.capitalize() for part in name.split("_")) for name in NONLINEARITIES}
_NONLINEAR |= {"PreluKernel", "RreluWithNoise"}
# Sums, products, casts, views, pooling and dropout may stand between a layer's output and the nonlinearity.
_PASSING = re.compile(
    r"Add|Sub|Rsub|Mul|Div|Neg|Pow|.*View|ReshapeAlias|Permute|Transpose|T|Mt|Clone|ToCopy|Squeeze|Unsqueeze|Expand|"
    r"Slice|Select|Split.*|Unbind|Cat|Stack|ConstantPadNd|Alias|AsStrided|NativeDropout|.*Pool.*|Mean|Sum|Amax|Upsample.*"
)
_HIDING = {"CompiledFunction", "CheckpointFunction", "CopySlices"}  # their inner operators are not in the graph


class LayersBefore:
    """Collects the nodes of layers' outputs during the passes of a step.

    Args:
        ranks: The ranks that record together. Only the first rank reads the graph, because it is the same on all ranks.
    """

    def __init__(self, ranks: Ranks) -> None:
        self._nodes: dict[Any, int] = {}
        self._reads, self._wanted = ranks.rank == 0, False

    def start_step(self, *, wanted: bool) -> None:
        """Forget the nodes of the last step; collect those of this one if they are wanted."""
        self._wanted = wanted and self._reads
        self._nodes.clear()

    def note(self, layer: int, output: Tensor) -> None:
        """Note the output of a layer, by its index."""
        if self._wanted and output.grad_fn is not None:
            self._nodes[output.grad_fn] = layer

    def read(self, observation: Observation) -> Reading:
        """Return the source ``feeds_nonlinearity``: 1 for each layer whose output enters a nonlinearity, else 0.

        A layer that no other layer follows is left out, because the graph ends there. It is kept if a nonlinearity is
        seen inside it. The reading is empty if no graph was seen, or if a compiled function or a checkpoint hides a
        part of it. The nodes are released.
        """
        nodes, self._nodes = self._nodes, {}
        known = {layer: before for layer, before in _layers_before(nodes).items() if layer in observation.layers}
        return Reading(list(known), [torch.tensor(float(before)) for before in known.values()])


def _layers_before(nodes: Mapping[Any, int]) -> dict[int, bool]:
    found: set[int] = set()
    reached: set[int] = set()  # layers that another layer follows
    for node in nodes:
        if _name(node) in _NONLINEAR:  # inside a layer that ends in one: its own norm, or (PReLU) the layer before
            found |= _origins(node, nodes) or {nodes[node]}
    seen: set[Any] = set()
    waiting = [each for node in nodes for each in _inputs(node)]
    while waiting:
        node = waiting.pop()
        if node in nodes:
            reached.add(nodes[node])
        if node in seen or node in nodes:
            continue
        seen.add(node)
        name = _name(node)
        if name in _HIDING:
            return {}
        if name in _NONLINEAR:
            found |= _origins(node, nodes)
        waiting += _inputs(node)
    return {layer: layer in found for layer in sorted(found | reached)}


def _origins(node: Any, nodes: Mapping[Any, int]) -> set[int]:
    """Return the layers whose outputs are the input of a nonlinearity."""
    found: set[int] = set()
    seen: set[Any] = set()
    waiting = list(_inputs(node))
    while waiting:
        each = waiting.pop()
        if each in seen:
            continue
        seen.add(each)
        if each in nodes:
            found.add(nodes[each])
        elif _PASSING.fullmatch(_name(each)):
            waiting += _inputs(each)
    return found


def _inputs(node: Any) -> Iterator[Any]:
    try:
        following = node.next_functions
    except RuntimeError:  # as below
        following = ()
    return (each for each, _ in following if each is not None)


def _name(node: Any) -> str:
    try:
        name = node.name()
    except RuntimeError:  # torch 2.11, for a Python function whose graph a reentrant checkpoint has released
        name = type(node).__name__
    return _ENDING.sub("", name)
