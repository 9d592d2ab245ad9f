"""LeakyReLU that allocates nothing: in place forward and, where nobody else holds the gradient, backward."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dynamics.norms.ownership import is_ours

NEGATIVE_SLOPE = 0.1  # of every LeakyReLU, as the paper's models have it


def leaky_relu_gradient(G: Tensor, output: Tensor, slope: float, *, overwrite: bool) -> Tensor:
    """Return the gradient before a LeakyReLU from that behind it, G, and from its output; in G's memory if asked.

    A positive slope keeps the signs of the input in the output.
    """
    if G.stride() != output.stride() and not torch.is_grad_enabled():
        # A gradient laid out otherwise (behind flatten) is copied first: both at once take 5 times as long.
        G, overwrite = torch.empty_like(output).copy_(G), True
    backward = torch.ops.aten.leaky_relu_backward
    if overwrite:
        return cast(Tensor, backward.grad_input(G, output, slope, True, grad_input=G))
    return cast(Tensor, backward(G, output, slope, True))


class _LeakyReLU(torch.autograd.Function):
    """In place; its backward needs the output alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float) -> Tensor:
        ctx.slope = slope
        ctx.mark_dirty(x)
        F.leaky_relu_(x, slope)
        ctx.save_for_backward(x)
        return x

    @staticmethod
    def backward(ctx: Any, G: Tensor) -> tuple[Tensor, None]:
        overwrite = is_ours(G)
        (output,) = ctx.saved_tensors
        return leaky_relu_gradient(G, output, ctx.slope, overwrite=overwrite), None


class LeakyReLU(nn.LeakyReLU):
    """``max(x, slope x)``, slope 0.1: the numbers of ``nn.LeakyReLU(0.1, inplace=True)``, one tensor fewer backward.

    All norms get it alike. Source: Maas et al. 2013; slope and use as in the paper's models.
    """

    def __init__(self) -> None:
        super().__init__(NEGATIVE_SLOPE, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return x, overwritten."""
        if torch.compiler.is_compiling() or not (x.requires_grad and torch.is_grad_enabled()):
            return super().forward(x)
        return cast(Tensor, _LeakyReLU.apply(x, self.negative_slope))
