"""Copies from the device to the host, without waiting for the device and without making the next kernels wait."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from probes.metrics.foreach import copy_into


def to_host(tensor: Tensor) -> Tensor:
    """Return a copy on the host. From CUDA it is pinned, and it is complete only after its :func:`arrival`."""
    if tensor.device.type == "cpu":
        return tensor.clone()
    if not tensor.is_cuda:
        return tensor.cpu()
    host = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu", pin_memory=True)
    copies = _copies(tensor.device)
    copies.wait_stream(torch.cuda.current_stream(tensor.device))
    with torch.cuda.stream(copies):
        host.copy_(tensor, non_blocking=True)
    tensor.record_stream(copies)  # its memory is not reused before the copy is complete
    return host


def to_host_together(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return copies on the host of tensors of one device, from CUDA with a single copy; see :func:`to_host`."""
    if len(tensors) == 1 or not _stands_together(tensors[0].device):
        return [to_host(tensor) for tensor in tensors]
    flats = [tensor.reshape(-1).view(torch.uint8) for tensor in tensors]
    room = [-(-len(each) // _ALIGNED) * _ALIGNED for each in flats]
    together = torch.empty(sum(room), dtype=torch.uint8, device=tensors[0].device)
    copy_into([part[: len(each)] for part, each in zip(together.split(room), flats, strict=True)], flats)
    parts = zip(to_host(together).split(room), flats, tensors, strict=True)
    return [part[: len(each)].view(tensor.dtype).view(tensor.shape) for part, each, tensor in parts]


def _stands_together(device: torch.device) -> bool:
    return device.type == "cuda"  # there, starting a copy takes longer than a small copy itself


def arrival(device: torch.device) -> Any:
    """Return an event that is reached when all copies started on the device so far are complete; None on the CPU."""
    if device.type != "cuda":
        return None
    event = torch.cuda.Event()
    event.record(_copies(device))
    return event


_ALIGNED = 16  # bytes: an alignment that suits numbers of any type


@cache
def _copies(device: torch.device) -> torch.cuda.Stream:
    """Return the stream in which copies from a device are made.

    Training goes on in its own stream.
    """
    return torch.cuda.Stream(device)
