"""A layer without its bias as a linear map of one input, and the map's transpose."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from dynamics.norms.weight_matrix import output_dimension


class LinearMap:
    """``x -> W * x`` for inputs of one shape, with stride, padding, dilation and groups.

    Args:
        layer: A linear or convolution layer, transposed or not. It is read once and not kept.
        input_shape: Shape of one input without the batch.

    Raises:
        TypeError: The module is no linear or convolution layer.
        ValueError: The layer's padding is no symmetric zero padding: it pads with other values, or by an odd number of
            rows (``padding="same"`` with an even kernel).
    """

    def __init__(self, layer: nn.Module, input_shape: tuple[int, ...]) -> None:
        output_dimension(layer)  # raises on modules without a weight we know
        self.input_shape = tuple(input_shape)
        self._settings: tuple[Any, ...] | None = None
        if not isinstance(layer, nn.Linear):
            conv = cast(nn.Conv2d, layer)
            self._settings = (
                conv.stride,
                _padding(conv),
                conv.dilation,
                conv.transposed,
                conv.output_padding,
                conv.groups,
            )

    def __call__(self, x: Tensor, weight: Tensor) -> Tensor:
        """Return ``W * x`` for x of ``input_shape``; differentiable in x and in the weight."""
        if self._settings is None:
            return x @ weight.mT
        return torch.ops.aten.convolution(x[None], weight, None, *self._settings)[0]

    def transpose(self, y: Tensor, weight: Tensor) -> Tensor:
        """Return the transposed map of y, of ``input_shape``."""
        if self._settings is None:
            return y @ weight
        x = y.new_empty((1, *self.input_shape))
        wanted = (True, False, False)
        return torch.ops.aten.convolution_backward(y[None], x, weight, None, *self._settings, wanted)[0][0]


def _padding(conv: nn.Conv2d) -> tuple[int, ...]:
    if conv.padding_mode != "zeros":
        raise ValueError(f"the operator norm is defined for zero padding, got padding_mode={conv.padding_mode!r}")
    if not isinstance(conv.padding, str):
        return conv.padding
    total = [d * (k - 1) if conv.padding == "same" else 0 for d, k in zip(conv.dilation, conv.kernel_size, strict=True)]
    if any(t % 2 for t in total):
        raise ValueError(f"padding='same' with kernel {conv.kernel_size} pads one side more: give padding as numbers")
    return tuple(t // 2 for t in total)
