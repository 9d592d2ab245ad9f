"""Takes the moments of a batch norm's input and output from what the norm has computed already.

A batch norm keeps the mean and the inverse standard deviation of each channel for its backward. They are the moments of
its input, and with beta and gamma those of its output: two looks at a large activation less, and two more where the
input is the untouched output of an observed layer.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from probes.layers import Layer

WORTH = 1 << 17  # elements; on a smaller activation the looks cost less than this detour
_KINDS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class ChannelMoments(NamedTuple):
    """What a batch norm knows of the channels of an activation, not yet worked out.

    Variance ``gain^2 (1 - eps scale^2)`` with ``scale = 1 / sqrt(v + eps)`` as the norm keeps it; its input is the case
    ``gain = 1 / scale``, None here.
    """

    n: int  # elements of all channels together
    means: Tensor
    scales: Tensor
    eps: float
    gains: Tensor | None


def moments_from_batch_norm(module: nn.Module, output: Tensor) -> tuple[ChannelMoments, ChannelMoments] | None:
    """Return what a batch norm knows of its input and of its output; None where it does not know them well enough.

    With mean ``mu`` and ``scale`` as kept: input ``mu, scale^-2 - eps``; output ``beta, gamma^2 scale^2 (scale^-2 -
    eps)``. Not known: in eval mode, on an accelerator (where asking would wait for it), under hooks on saved tensors
    (asking would call them), for variances near eps (rounding of ``scale`` would show), for a NaN.
    """
    if type(module) not in _KINDS or output.device.type != "cpu":
        return None
    node: Any = output.grad_fn  # its saved tensors are not in torch's type hints
    if node is None or node.name() != "NativeBatchNormBackward0" or _saved_tensors_are_hooked():
        return None
    if not node._saved_training:
        return None
    eps: float = node._saved_eps
    means, scales = node._saved_result1, node._saved_result2
    if not scales.max().item() ** 2 < 0.5 / eps:  # false for NaN too
        return None
    gamma, beta = module._parameters["weight"], module._parameters["bias"]
    gains = torch.ones_like(scales) if gamma is None else gamma
    shifts = torch.zeros_like(means) if beta is None else beta
    n = output.numel()
    return ChannelMoments(n, means, scales, eps, None), ChannelMoments(n, shifts, scales, eps, gains)


def worked_out(known: Sequence[ChannelMoments]) -> tuple[np.ndarray, np.ndarray]:
    """Return the means and the population variances of all channels of several activations, one after the other."""
    channels = [len(one.scales) for one in known]
    eps = np.repeat([one.eps for one in known], channels)
    given = np.repeat([one.gains is None for one in known], channels)
    scales = _side_by_side([one.scales for one in known])
    gains = _side_by_side([one.scales if one.gains is None else one.gains for one in known])
    gains[given] **= -1
    return _side_by_side([one.means for one in known]), gains**2 * (1 - eps * scales**2)


def _side_by_side(vectors: list[Tensor]) -> np.ndarray:
    return torch.cat(vectors).detach().double().numpy()


class UntouchedOutput:
    """Remembers the last layer's output, to recognise it where a batch norm is given it unchanged."""

    def __init__(self) -> None:
        self._feeds: set[int] = set()
        self._last: tuple[Layer, weakref.ref[Tensor], int] | None = None

    def feeds_batch_norm(self, layer: Layer) -> bool:
        """Whether this layer's output went untouched into a batch norm before: its moments may wait for the norm."""
        return layer.index in self._feeds

    def remember(self, layer: Layer, output: Tensor) -> None:
        """Remember an output."""
        self._last = (layer, weakref.ref(output), output._version)

    def recognise(self, given: Tensor | None) -> Layer | None:
        """Return the layer whose output a batch norm is given, if nothing has written to it since."""
        if self._last is None or given is None:
            return None
        layer, output, version = self._last
        if output() is not given or given._version != version:
            return None
        self._feeds.add(layer.index)
        return layer

    def forget(self) -> None:
        """Forget the last output."""
        self._last = None


def _saved_tensors_are_hooked() -> bool:
    # Private in torch. Where it is missing, nothing is asked of a batch norm.
    hooks = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)
    return hooks is None or hooks(False) is not None
