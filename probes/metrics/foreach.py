"""Operations of torch on lists of tensors, each in one call, under torch's private names.

Without the private name: the same operation, tensor by tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def norms(tensors: Sequence[Tensor], *, dtype: torch.dtype | None = None) -> list[Tensor]:
    """Return the l2 norm of each tensor as a scalar tensor."""
    together = _together("_foreach_norm")
    if together is None:
        return [torch.linalg.vector_norm(tensor, dtype=dtype) for tensor in tensors]
    return list(together(list(tensors), dtype=dtype) if dtype is not None else together(list(tensors)))


def differences(minuends: Sequence[Tensor], subtrahends: Sequence[Tensor]) -> list[Tensor]:
    """Return the difference of each pair."""
    together = _together("_foreach_sub")
    if together is None:
        return [a - b for a, b in zip(minuends, subtrahends, strict=True)]
    return list(together(list(minuends), list(subtrahends)))


def products(tensors: Sequence[Tensor], factors: Sequence[Tensor]) -> list[Tensor]:
    """Return the product of each tensor and its factor."""
    together = _together("_foreach_mul")
    if together is None:
        return [tensor * factor for tensor, factor in zip(tensors, factors, strict=True)]
    return list(together(list(tensors), list(factors)))


def copy_into(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    """Copy each source into its target, which has the same shape."""
    together = _together("_foreach_copy_")
    if together is None:
        for target, source in zip(targets, sources, strict=True):
            target.copy_(source)
    else:
        together(list(targets), list(sources))


def _together(name: str) -> Any:
    return getattr(torch, name, None)
