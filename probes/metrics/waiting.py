"""Whether a look at a number would make the training thread wait for the device."""

from __future__ import annotations

from torch import Tensor

ASYNCHRONOUS = {"cuda"}
"""Types of devices that compute while Python goes on. The tests add ``cpu``, to run what is meant for those there."""


def looks_wait(tensor: Tensor) -> bool:
    """Return whether reading a value of a tensor would wait until the device has computed it.

    There, launching a call also takes longer than computing it, so many tensors are computed together in a few calls.
    """
    return tensor.device.type in ASYNCHRONOUS
