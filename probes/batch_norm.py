"""Takes the moments of a batch norm's input and output from what the norm has computed already.

A batch norm keeps the mean and the inverse standard deviation of each channel for its backward. They are the moments of
its input, and with beta and gamma those of its output: two looks at a large activation less, and two more where the
input is the untouched output of an observed layer.
"""

from __future__ import annotations

import weakref
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from probes.layers import Layer

WORTH = 1 << 17  # elements; on a smaller activation the looks cost less than this detour
_KINDS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class ChannelMoments(NamedTuple):
    """Mean and population variance of each channel, and the number of elements of all channels together."""

    n: int
    means: np.ndarray
    variances: np.ndarray


def moments_from_batch_norm(module: nn.Module, output: Tensor) -> tuple[ChannelMoments, ChannelMoments] | None:
    """Return the moments of a batch norm's input and of its output; None where it does not know them well enough.

    With ``mu`` and ``s = 1 / sqrt(v + eps)`` as kept: input ``mu, v = s^-2 - eps``; output ``beta, gamma^2 v s^2``. Not
    known: in eval mode, on an accelerator (where asking would wait for it), under hooks on saved tensors (asking would
    call them), for variances near eps (rounding of ``s`` would show), for a NaN.
    """
    node: Any = output.grad_fn  # its saved tensors are not in torch's type hints
    if type(module) not in _KINDS or output.device.type != "cpu" or node is None or _saved_tensors_are_hooked():
        return None
    if node.name() != "NativeBatchNormBackward0" or not node._saved_training:
        return None
    norm = cast(nn.BatchNorm2d, module)
    means, scales = (_array(saved) for saved in (node._saved_result1, node._saved_result2))
    with np.errstate(all="ignore"):
        variances = scales**-2.0 - norm.eps
    if not (variances > norm.eps).all():  # false for NaN too
        return None
    gains = np.ones_like(means) if norm.weight is None else _array(norm.weight)
    shifts = np.zeros_like(means) if norm.bias is None else _array(norm.bias)
    n = output.numel()
    return ChannelMoments(n, means, variances), ChannelMoments(n, shifts, (gains * scales) ** 2 * variances)


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


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().double().numpy()


def _saved_tensors_are_hooked() -> bool:
    # Private in torch. Where it is missing, nothing is asked of a batch norm.
    hooks = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)
    return hooks is None or hooks(False) is not None
