"""Copies side by side: the numbers, layouts and alignments of the tensors, as they were."""

from __future__ import annotations

import pytest
import torch

from probes.copies import Copies, can_be_copied

COPIED = {
    "matrix": lambda: torch.randn(3, 4),
    "vector": lambda: torch.randn(5),
    "number": lambda: torch.randn(()),
    "kernels": lambda: torch.randn(4, 3, 2, 2),
    "kernels, channels last": lambda: torch.randn(4, 3, 2, 2).contiguous(memory_format=torch.channels_last),
    "pointwise, channels last": lambda: torch.randn(4, 3, 1, 1).contiguous(memory_format=torch.channels_last),
    "nothing": lambda: torch.randn(0, 4),
    "a part that begins anywhere": lambda: torch.randn(40)[7:20],
}
NOT_COPIED = {
    "transposed": lambda: torch.randn(3, 4).t(),
    "every other row": lambda: torch.randn(6, 4)[::2],
    "expanded": lambda: torch.randn(1, 4).expand(3, 4),
    "channels last in 3d": lambda: torch.randn(2, 3, 2, 2, 2).contiguous(memory_format=torch.channels_last_3d),
    "float64": lambda: torch.randn(3, dtype=torch.float64),
}


def test_copies_keep_the_numbers_when_the_tensors_change():
    tensors = [make() for make in COPIED.values()]
    before = [tensor.clone() for tensor in tensors]
    copies = Copies(tensors)
    for tensor in tensors:
        tensor.fill_(torch.nan)
    for copied, original in zip(copies.tensors(), before, strict=True):
        torch.testing.assert_close(copied, original, rtol=0, atol=0)


@pytest.mark.parametrize("kind", COPIED)
def test_copies_lie_in_memory_as_the_tensors_do(kind):
    tensor, before = COPIED[kind](), torch.randn(3)
    assert can_be_copied(tensor)
    _, copied = Copies([before, tensor]).tensors()
    assert copied.is_contiguous() == tensor.is_contiguous()
    assert copied.is_contiguous() or copied.stride() == tensor.stride()
    assert tensor.numel() == 0 or copied.data_ptr() % 64 == tensor.data_ptr() % 64


def test_sums_that_depend_on_the_alignment_are_those_of_the_tensors():
    tensors = [torch.randn(size) for size in range(20, 90)]
    copies = Copies(tensors).tensors()
    sums = [torch.dot(tensor, tensor.flip(0)).item() for tensor in tensors]
    assert [torch.dot(copied, tensor.flip(0)).item() for copied, tensor in zip(copies, tensors, strict=True)] == sums


@pytest.mark.parametrize("kind", NOT_COPIED)
def test_what_a_row_of_numbers_cannot_be_is_left_alone(kind):
    assert not can_be_copied(NOT_COPIED[kind]())
