"""The loss scale of mixed-precision training."""

from __future__ import annotations

import sys
from types import FrameType

import torch
from torch import Tensor

from probes.hooks.torch_internals import scale_of

_MOST_CALLS = 24  # between GradScaler.step and the hook of the optimizer; wrappers of frameworks add a few each


def loss_scale() -> Tensor | float | None:
    """Return the scale of the GradScaler whose ``step`` is running in this thread, or None.

    A scaler does not tell the optimizer that it calls its ``step``, so this function searches the call stack for it.
    Backward passes add up scaled gradients, and the scaler unscales the sum before it is clipped. The gradient's length
    before clipping must therefore be divided by the scale.
    """
    frame: FrameType | None = sys._getframe(1)
    for _ in range(_MOST_CALLS):
        if frame is None:
            return None
        if frame.f_code.co_name in ("step", "_maybe_opt_step"):
            owner = frame.f_locals.get("self")
            if isinstance(owner, torch.amp.GradScaler):
                return scale_of(owner)
        frame = frame.f_back
    return None
