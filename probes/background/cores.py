"""Cores that training leaves idle."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import torch
import torch.distributed as dist


def leaves_cores_idle() -> bool:
    """Return whether as many usable cores are idle now as training uses.

    False within a process group, whose ranks share their machine.
    """
    threads = torch.get_num_threads()
    if (dist.is_available() and dist.is_initialized()) or 2 * threads > usable_cores():
        return False
    return busy_threads() + threads <= (os.cpu_count() or 1)


def busy_threads(file: Path = Path("/proc/loadavg")) -> int:
    """Return how many threads of all processes run or wait for a core now, the caller's among them; 1 if unknown."""
    try:
        return int(file.read_text().split()[3].partition("/")[0])
    except (OSError, ValueError, IndexError):  # no Linux
        return 1


def usable_cores() -> float:
    """Return how many cores this thread may use: those of its affinity, and no more than the control group allows."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, quota())


@cache
def quota(file: Path = Path("/sys/fs/cgroup/cpu.max")) -> float:
    """Return the number of cores that a control group's ``cpu.max`` allows; infinite without a limit or a file."""
    try:
        allowed, period = file.read_text().split()
        return int(allowed) / int(period)
    except (OSError, ValueError):  # no such file, or "max 100000"
        return float("inf")
