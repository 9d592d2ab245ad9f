"""Devices that a model may be on while it is observed."""

from __future__ import annotations

from collections.abc import Iterable

import torch

_WITHOUT_FLOAT64 = {"mps"}


def check_devices(devices: Iterable[torch.device]) -> None:
    """Refuse devices without float64, because sums over a tensor are in float64.

    Raises:
        ValueError: A device has no float64.
    """
    refused = sorted({device.type for device in devices} & _WITHOUT_FLOAT64)
    if refused:
        raise ValueError(
            f"the model is on device {refused[0]}, which has no float64, and the probe sums in it: train on cpu or "
            "cuda, or switch the probe off (enabled=False)."
        )
