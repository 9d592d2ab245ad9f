"""The l2 norm of many tensors: no lost digits in long sums, no squares that underflow or overflow unnoticed."""

from __future__ import annotations

import torch
from torch import Tensor

RUN = 1 << 16  # elements summed in float32; longer tensors lose 1e-5 of their length in torch's own norm
_SAFE = (1e-15, 1e18)  # lengths whose squares float32 holds, with room for how the elements spread


def l2_norms(tensors: list[Tensor]) -> Tensor:
    """Return ``sqrt(sum(x^2))`` of each tensor: ``(layers,)`` float64; NaN in, NaN out; no elements: 0.

    Runs of 65,536 elements are summed in float32 and the runs in float64. In float32 the squares of a gradient of 1e-20
    are 0: on the CPU a length outside the range where squares are safe is taken again in float64; on CUDA, where a look
    at the value would wait for the device, all sums are in float64.
    """
    if tensors[0].is_cuda:
        return torch.stack(torch._foreach_norm(tensors, dtype=torch.float64))
    if all(tensor.numel() <= RUN for tensor in tensors):
        return _safe_lengths(tensors)
    runs = [list(tensor.reshape(-1).split(RUN)) for tensor in tensors]
    owners = torch.tensor([index for index, own in enumerate(runs) for _ in own])
    squares = _safe_lengths([run for own in runs for run in own]).square()
    return squares.new_zeros(len(tensors)).index_add_(0, owners, squares).sqrt()


def _safe_lengths(tensors: list[Tensor]) -> Tensor:
    lengths = torch.stack(torch._foreach_norm(tensors)).double()
    unsafe = ((lengths < _SAFE[0]) | (lengths > _SAFE[1])).nonzero().flatten().tolist()
    for index in unsafe:
        lengths[index] = torch.linalg.vector_norm(tensors[index], dtype=torch.float64)
    return lengths
