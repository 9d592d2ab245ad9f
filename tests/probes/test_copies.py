"""Copies side by side: the numbers and layouts of the tensors, as they were."""

from __future__ import annotations

import pytest
import torch

from probes.copies import Copies

TENSORS = {
    "matrix": lambda: torch.randn(3, 4),
    "transposed": lambda: torch.randn(3, 4).t(),
    "vector": lambda: torch.randn(5),
    "number": lambda: torch.randn(()),
    "kernels": lambda: torch.randn(4, 3, 2, 2),
    "kernels, channels last": lambda: torch.randn(4, 3, 2, 2).contiguous(memory_format=torch.channels_last),
    "pointwise, channels last": lambda: torch.randn(4, 3, 1, 1).contiguous(memory_format=torch.channels_last),
    "every other row": lambda: torch.randn(6, 4)[::2],
    "nothing": lambda: torch.randn(0, 4),
}


def test_copies_keep_the_numbers_when_the_tensors_change():
    tensors = [make() for make in TENSORS.values()]
    before = [tensor.clone() for tensor in tensors]
    copies = Copies(tensors)
    for tensor in tensors:
        tensor.fill_(torch.nan)
    for copied, original in zip(copies.tensors(), before, strict=True):
        torch.testing.assert_close(copied, original, rtol=0, atol=0)


@pytest.mark.parametrize("kind", [name for name in TENSORS if name not in ("transposed", "every other row")])
def test_copies_lie_in_memory_as_the_tensors_do(kind):
    tensor = TENSORS[kind]()
    (copied,) = Copies([tensor]).tensors()
    assert copied.stride() == tensor.stride() or tensor.is_contiguous()
    assert copied.is_contiguous() == tensor.is_contiguous()
