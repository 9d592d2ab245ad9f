"""A copy of a network with its norms folded into its layers, and the matrices of a folded network that is a chain."""

from __future__ import annotations

import copy
import warnings

from torch import Tensor, fx, nn

from dynamics.bounds.complexity import layer_matrices
from dynamics.bounds.lipschitz import REARRANGING, module_factor
from dynamics.norms.interventions.centring import InterventionalCentring
from dynamics.norms.released import ReleasedMeanCentring
from dynamics.norms.surgery.fold import fold
from dynamics.norms.surgery.traced_graph import trace
from dynamics.norms.torch_internals import BatchNorm
from dynamics.norms.weight_matrix import LAYERS


def folded(model: nn.Module) -> nn.Module:
    """Return an equivalent copy in evaluation mode, whose norms are folded into the weights as far as possible.

    A network without a norm to fold, or whose forward cannot be traced, is only copied.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "fold left")  # callers that need a chain look for unfolded norms
            return fold(model)
    except ValueError:
        return copy.deepcopy(model).eval().requires_grad_(False)


def chain_matrices(network: nn.Module) -> dict[str, Tensor]:
    """Return the unfolded matrix of each layer of a folded network that is a chain, by the layer's name.

    A chain applies one layer after another, with functions of Lipschitz constant 1 between them. Eq. 4 and Theorem 1
    hold for such networks; biases do not enter them.

    Args:
        network: A network from :func:`folded`.

    Raises:
        ValueError: The network is no chain: it adds or concatenates, uses an activation twice, or keeps a norm that
            could not be folded. The message states the reason.
    """
    modules = dict(network.named_modules())
    for node in trace(network).nodes:
        if reason := _broken_link(node, modules):
            raise ValueError(f"{type(network).__name__} is not a chain of layers: {reason}")
    return layer_matrices(network)


def _broken_link(node: fx.Node, modules: dict[str, nn.Module]) -> str:
    """Return the reason why a network with this node is no chain; empty if a chain may have the node."""
    if node.op == "output":
        return ""
    if node.op in {"get_attr", "call_function", "call_method"}:
        name = node.target if isinstance(node.target, str) else node.target.__name__
        if name not in REARRANGING or len(node.all_input_nodes) != 1:
            return f"its forward has the operation {name!r}"
    if node.op == "call_module":
        name, module = str(node.target), modules[str(node.target)]
        scales = isinstance(module, InterventionalCentring) and module.weight is not None
        unfolded = scales or isinstance(module, BatchNorm | ReleasedMeanCentring)
        if unfolded or not (isinstance(module, LAYERS) or module_factor(module) == 1.0):
            return f"{name!r}, a {type(module).__name__}, stands between its layers"
    return f"{node.name!r} is read {len(node.users)} times" if len(node.users) != 1 else ""
