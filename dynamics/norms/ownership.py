"""Whether a gradient belongs to one backward function alone, so that it may be overwritten instead of copied."""

from __future__ import annotations

import functools
import sys
from typing import Any

import torch
from torch import Tensor

Owners = tuple[int, int, int]
UNKNOWN = (-1, -1, -1)
WORTH_COUNTING = 1 << 16  # elements; a smaller tensor is copied sooner than its owners are counted


def is_ours(gradient: Tensor) -> bool:
    """Return whether nobody but the calling ``Function.backward`` holds ``gradient``.

    Call it first thing in ``backward``, on its argument. The rule is the one by which autograd itself adds gradients
    in place: one owner of the tensor, one of its storage. A hook that kept the gradient or a view of it,
    ``torch.autograd.grad`` with respect to the very tensor, a residual sum that hands one gradient to two branches:
    each is one owner more, and the answer is False. So it is whenever the owners cannot be counted, while a second
    derivative is being recorded, under torch.compile, under a debugger, for subclasses of Tensor, for small gradients,
    and for gradients that do not fill their storage (``sum`` hands back one number, expanded).

    Why it pays: on CPU a fresh tensor of 8 MB costs 2,000 page faults, more time than the arithmetic on it.
    """
    if torch.compiler.is_compiling() or torch.is_grad_enabled() or gradient.numel() < WORTH_COUNTING:
        return False
    if type(gradient) is not Tensor or sys.gettrace() is not None:
        return False
    lone = _owners_of_a_lone_gradient(_references_of_a_local())
    return lone != UNKNOWN and _owners(gradient) == lone and _fills_its_storage(gradient)


def _fills_its_storage(gradient: Tensor) -> bool:
    return _is_dense(gradient) and gradient.untyped_storage().nbytes() == gradient.nbytes


def _is_dense(gradient: Tensor) -> bool:
    if gradient.is_contiguous():
        return True
    if gradient.ndim == 4:  # asked without a view, half of the whole price
        return gradient.is_contiguous(memory_format=torch.channels_last)
    return gradient.ndim > 1 and gradient.movedim(1, -1).is_contiguous()


def _owners(gradient: Tensor) -> Owners:
    """Count the references to the Python object, to the tensor and to its storage."""
    # Private names, there from torch 2.6 to 2.15. Should one go, every gradient is copied: slower, never wrong.
    storage_count = getattr(torch._C, "_storage_Use_Count", None)
    tensor_count = getattr(gradient, "_use_count", None)
    if storage_count is None or tensor_count is None:
        return UNKNOWN
    return _references(gradient), tensor_count(), storage_count(gradient.untyped_storage()._cdata)


def _references(thing: object) -> int:
    return sys.getrefcount(thing)


def _references_of_a_local() -> int:
    """Return how many references a call adds: torch.compile, once used, makes Python hold arguments twice."""
    local = object()
    return _references(local)


@functools.cache
def _owners_of_a_lone_gradient(_call_cost: int) -> Owners:
    """Count on a gradient that is nobody else's for certain: Python and torch versions differ in what they hold."""
    found: list[Owners] = []

    class Lone(torch.autograd.Function):
        @staticmethod
        def forward(_: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(_: Any, G: Tensor) -> Tensor:
            count(G)
            return G

    def count(gradient: Tensor) -> None:  # stands where is_ours stands: one frame, one argument
        found.append(_owners(gradient))

    with torch.enable_grad():
        (Lone.apply(torch.ones(2, 2, requires_grad=True)) * 2).sum().backward()
    return found[0]
