"""Whether a look at a number would make the training thread wait for the device."""

from __future__ import annotations

from torch import Tensor

ASYNCHRONOUS = {"cuda"}
"""Types of devices that compute while Python goes on.

The tests add ``cpu``, to run the code for such devices on the CPU.
"""


def looks_wait(tensor: Tensor) -> bool:
    """Return whether reading a value of a tensor would wait until the device has computed it.

    On such a device, launching a call also takes longer than computing it. Many tensors are therefore computed together
    in a few calls.
    """
    return tensor.device.type in ASYNCHRONOUS
