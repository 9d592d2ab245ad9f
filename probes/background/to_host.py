"""Copies from the device to the host, without waiting for the device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def to_host(tensor: Tensor) -> Tensor:
    """Return a copy on the host; from CUDA it is pinned and complete only after :func:`arrival` of it is reached."""
    if tensor.device.type == "cpu":
        return tensor.clone()
    if not tensor.is_cuda:
        return tensor.cpu()
    host = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu", pin_memory=True)
    return host.copy_(tensor, non_blocking=True)


def arrival(device: torch.device) -> Any:
    """Return an event that is reached when all copies begun on the device so far are complete; None on the CPU."""
    if device.type != "cuda":
        return None
    event = torch.cuda.Event()
    event.record(torch.cuda.current_stream(device))
    return event
