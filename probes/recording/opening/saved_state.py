"""The state of a probe from a checkpoint, checked before it supersedes any row."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from probes.recording.opening.opening import checked_step


def checked_state(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a state that ``Probe.state_dict()`` may have returned.

    Raises:
        ValueError: The state lacks a key, or a value has a wrong type.
    """
    missing = [key for key in ("step", "epoch", "seconds", "carried") if key not in state]
    if missing:
        raise ValueError(f"probe state lacks {', '.join(missing)}: expected what Probe.state_dict() returned.")
    checked_step(state["step"])
    fits = {"epoch": _is_epoch, "seconds": _is_time, "carried": _is_carried, "rows": _is_rows}
    wrong = [name for name, is_fit in fits.items() if name in state and not is_fit(state[name])]
    if wrong:
        raise ValueError(
            f"probe state has invalid values of {', '.join(wrong)}: expected what Probe.state_dict() returned."
        )
    return state


def is_in_memory(tensor: Tensor) -> bool:
    """Return whether a tensor is dense and its memory holds all entries.

    A tensor from a file may claim any shape.
    """
    if tensor.layout != torch.strided or tensor.device.type == "meta" or tensor.is_quantized:
        return False
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def _is_epoch(epoch: Any) -> bool:
    return epoch is None or isinstance(epoch, Real)


def _is_time(seconds: Any) -> bool:
    return isinstance(seconds, Real) and math.isfinite(seconds) and float(seconds) >= 0


def _is_rows(rows: Any) -> bool:
    """Return whether ``rows`` are rows of table ``steps``: values by column."""
    if not isinstance(rows, list | tuple) or not all(isinstance(row, Mapping) for row in rows):
        return False
    cells = [cell for row in rows for cell in row.items()]
    return all(isinstance(name, str) and (value is None or isinstance(value, Real | str)) for name, value in cells)


def _is_carried(carried: Any) -> bool:
    """Return whether ``carried`` holds tensors by metric and layer."""
    if not isinstance(carried, Mapping) or not all(isinstance(kept, Mapping) for kept in carried.values()):
        return False
    tensors = [tensor for kept in carried.values() for tensor in kept.values()]
    return all(isinstance(tensor, Tensor) and is_in_memory(tensor) for tensor in tensors)
