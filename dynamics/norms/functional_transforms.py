"""Norms under ``torch.func``, forward-mode derivatives and tracers: plain operations, and writes into buffers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from dynamics.norms import torch_internals


def needs_plain_operations(*tensors: Tensor) -> bool:
    """Return whether the norms must compute by plain operations for these tensors, and not by autograd functions.

    The autograd functions save time in eager mode. ``torch.func`` and forward-mode derivatives need the rule of each
    operation. ``torch.jit.trace`` records an autograd function as a call into Python, which an exported file cannot
    hold. ONNX has no operations on lists of tensors.
    """
    if torch.compiler.is_compiling():  # torch.compile supports autograd functions; is_exporting exists since torch 2.7
        return hasattr(torch.compiler, "is_exporting") and torch.compiler.is_exporting()
    traced = torch.jit.is_tracing() or torch_internals.within_transform()
    return traced or any(forward_ad.unpack_dual(tensor).tangent is not None for tensor in tensors)


def write(buffer: Tensor, value: Tensor) -> None:
    """Copy a value into a buffer.

    ``torch.func`` forbids operations in place on tensors that the transformed function captures, such as a running
    mean. The write happens below the transform, where buffer and value are plain tensors.

    Raises:
        ValueError: ``torch.func.vmap`` gives each sample its own value, but all samples share the buffer.
    """
    if torch_internals.within_transform():
        _Write.apply(buffer, value)
    else:
        buffer.copy_(value)


class _Write(torch.autograd.Function):
    """``buffer.copy_(value)`` without a derivative. It returns an empty tensor, because a Function must return one."""

    @staticmethod
    def forward(buffer: Tensor, value: Tensor) -> Tensor:
        buffer.copy_(value)
        return value.new_empty(0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:  # noqa: ARG004 - torch's names
        ctx.mark_non_differentiable(output)

    @staticmethod
    def vmap(_info: Any, in_dims: tuple[int | None, ...], buffer: Tensor, value: Tensor) -> tuple[Tensor, None]:
        buffer_dim, value_dim = in_dims
        if buffer_dim is None:
            raise ValueError(
                "vmap: each sample would write a value of its own into a buffer that all share. Use eval(), or give "
                "each sample its own buffers (torch.func.stack_module_state)."
            )
        value = value if value_dim is None else value.movedim(value_dim, 0)
        return _Write.apply(buffer.movedim(buffer_dim, 0), value), None
