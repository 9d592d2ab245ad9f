"""Time of one image through a network on one thread, before and after folding, with a control."""

from __future__ import annotations

import copy
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

CALLS = 5  # consecutive calls, whose mean is one time: before the first, the caches hold another network
WARM_UP = 3  # calls of each network that are not timed
FEWEST = 9  # rounds that are made regardless of their time
SECONDS = 20.0  # after this time no further round starts


@dataclass(frozen=True)
class Latency:
    """Times of two networks.

    Attributes:
        before: Median time of a call of the first network, in seconds.
        after: Median time of a call of the second network, in seconds.
        ratio: Median over rounds of after / before. Below 1: the second network is faster.
        control: The same ratio for a copy of the first network. Its distance from 1 is the noise of a ratio.
        rounds: Number of timed rounds.
    """

    before: float
    after: float
    ratio: float
    control: float
    rounds: int


def compare_latency(
    before: nn.Module, after: nn.Module, image: Tensor, *, rounds: int = 200, most_seconds: float = SECONDS
) -> Latency:
    """Time two networks in turn on one thread, and a copy of the first as a control.

    Each round times all three networks, and starts with another network than the last round. A slowdown of the machine
    then affects all networks alike. Ratios are taken within rounds.

    Args:
        before: A network in evaluation mode.
        after: The network that is compared with ``before``.
        image: Input of each call, ``(1, channels, height, width)``.
        rounds: Largest number of rounds.
        most_seconds: No round starts after this many seconds, except for the first nine.

    Raises:
        ValueError: ``rounds`` is below 1.
    """
    if rounds < 1:
        raise ValueError(f"rounds {rounds}: expected 1 or more.")
    networks = (before, after, copy.deepcopy(before))
    times: list[tuple[float, ...]] = []
    with one_thread(), torch.inference_mode():
        for network in networks:
            _seconds(network, image, calls=WARM_UP)
        end = time.perf_counter() + most_seconds
        while len(times) < rounds and (len(times) < FEWEST or time.perf_counter() < end):
            first = len(times) % len(networks)
            order = (*range(first, len(networks)), *range(first))
            timed = {place: _seconds(networks[place], image, calls=CALLS) for place in order}
            times.append(tuple(timed[place] for place in range(len(networks))))
    return Latency(
        before=median(one[0] for one in times),
        after=median(one[1] for one in times),
        ratio=median(one[1] / one[0] for one in times),
        control=median(one[2] / one[0] for one in times),
        rounds=len(times),
    )


def _seconds(network: nn.Module, image: Tensor, *, calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        network(image)
    return (time.perf_counter() - start) / calls


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute on one thread inside the block."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def machine() -> dict[str, str | int]:
    """Return the machine's properties that affect times: processor, cores, versions of torch and Python."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # no Linux
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
