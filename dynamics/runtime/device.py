"""Choice of a run's device by name, and the cores of the CPU."""

from __future__ import annotations

import os

import torch


def choose_device(name: str, *, local: int = 0) -> torch.device:
    """Return the device of that name; ``"auto"`` is CUDA device ``local`` if there is one, else the CPU.

    Raises:
        ValueError: torch knows no such device, or this machine has none.
    """
    if name == "auto":
        return torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {name!r}: {reason}. Expected auto, cpu, or a GPU of this machine.") from error
    return device


def usable_cores() -> int:
    """Return the number of cores in this process's affinity; all cores if there is no affinity, as on macOS."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
