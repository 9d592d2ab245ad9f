"""What a norm gives and passes back, for comparison with a formula."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def gradients(function: Callable[[Tensor], Tensor], h: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    """Return the output of a function, and the gradients of a fixed loss by its input and by other tensors."""
    h = h.clone().requires_grad_()
    output = function(h * 1)  # not the leaf itself: an in-place function may overwrite it
    weights = torch.linspace(-1, 2, output.numel(), dtype=output.dtype).view_as(output)
    return (output.detach(), *torch.autograd.grad((output.sigmoid() * weights).sum(), (h, *others)))
