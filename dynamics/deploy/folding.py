"""The norms of a trained network folded into its layers, and the norms that could not be folded."""

from __future__ import annotations

import copy
import re
import warnings
from collections import Counter
from dataclasses import dataclass

from torch import nn
from torch.nn.utils import parametrize

from dynamics.norms import fold
from dynamics.norms.torch_internals import BatchNorm

NORMS_OF_TORCH = (
    *(BatchNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d),
    *(nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.LocalResponseNorm),
)
OURS = "dynamics.norms."  # the package of this project's norms


@dataclass(frozen=True)
class Folded:
    """A network for inference.

    Attributes:
        network: The network, its norms folded into the weights and biases of its layers as far as possible.
        left: The class of each module that still normalises or shifts channels, by name. Empty: a plain network.
        reason: Why they are left, in the words of :func:`dynamics.norms.fold`, each reason once; empty if none is left.
    """

    network: nn.Module
    left: dict[str, str]
    reason: str

    @property
    def left_text(self) -> str:
        """The norms that are left, counted, such as ``39 BatchNorm2d``; empty if none is."""
        return ", ".join(f"{count} {kind}" for kind, count in Counter(self.left.values()).items())


def fold_network(network: nn.Module) -> Folded:
    r"""Return a copy for inference, ``W / sigma`` as its weights and ``b + m - E[h]`` as its biases.

    The weight before a batch norm becomes ``W gamma / sqrt(var + eps)``, its bias
    ``(b - E[h]) gamma / sqrt(var + eps) + beta``. Networks of BN, SN and MSN thus become the same plain network: only
    their numbers differ. In a DenseNet, MSN stands behind the convolution that makes a channel, so all of it is folded;
    SN is folded too, because it changes only weights. Batch norm stands behind a concatenation, before an activation:
    it cannot be folded into a layer, and it is left.

    A network without any norm is copied. The outputs are those of the network in evaluation, up to rounding.
    """
    told: list[str] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            folded = fold(network)
        told = [str(one.message) for one in caught]
    except ValueError as error:
        folded = copy.deepcopy(network).eval().requires_grad_(False)
        told = [str(error)]
    left = norms_in(folded)
    return Folded(folded, left, _reason(told, left) if left else "")


def _reason(told: list[str], left: dict[str, str]) -> str:
    """Return the reasons of ``fold`` for the norms that are left, each reason once."""
    named = [pair for text in told for pair in re.findall(r"(\S+) \(([^)]*)\)", text)]
    untraced = [text for text in told if text.startswith("cannot trace")]
    reasons = [*untraced, *(reason for name, reason in named if name in left)]
    return "; ".join(dict.fromkeys(reasons)) or "fold knows no such norm"


def norms_in(network: nn.Module) -> dict[str, str]:
    """Return the modules that normalise or shift channels, or whose tensors are reparametrised: class by name.

    The submodules of a listed module are not listed.
    """
    found: dict[str, str] = {}
    for name, module in network.named_modules():
        if any(name.startswith(f"{outer}.") for outer in found):
            continue
        if parametrize.is_parametrized(module):
            found[name] = f"reparametrised {type(module).__bases__[0].__name__}"
        elif _is_norm(module):
            found[name] = type(module).__name__
    return found


def _is_norm(module: nn.Module) -> bool:
    return isinstance(module, NORMS_OF_TORCH) or type(module).__module__.startswith(OURS)
