"""Distributed training of one run: each process that ``torchrun`` starts trains on its share of every batch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from dynamics.norms.mean_centring import MeanCentring


@dataclass(frozen=True)
class Ranks:
    """The position of this process among the processes that train together; by default there is only this process.

    Attributes:
        rank: Number of this process, from 0. Rank 0 records, saves and prints.
        count: Number of processes.
        local: Number of this process on its machine, and thus of its GPU.
    """

    rank: int = 0
    count: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        """True for the process that records, saves and prints."""
        return self.rank == 0

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return the model to train: for one process the model itself, else with gradients averaged over processes.

        Mean-centring then takes its means over all processes, as a single process would over the whole batch. Batch
        norm takes the moments of each process's own share, because torch synchronises it only on GPUs.
        """
        if self.count == 1:
            return model
        for module in model.modules():
            if isinstance(module, MeanCentring):
                module.sync = True
        return nn.parallel.DistributedDataParallel(model)

    def mean(self, *scalars: Tensor) -> list[Tensor]:
        """Return the mean of each scalar over the processes."""
        if self.count == 1:
            return list(scalars)
        together = torch.stack(scalars)
        dist.all_reduce(together)
        return list((together / self.count).unbind())

    def any(self, flag: bool, *, device: torch.device) -> bool:
        """Return whether the flag is true in any process, so that all processes stop at the same step."""
        if self.count == 1:
            return flag
        raised = torch.tensor(float(flag), device=device)
        dist.all_reduce(raised, dist.ReduceOp.MAX)
        return bool(raised)


ALONE = Ranks()


def environment() -> Ranks:
    """Return this process's position from ``torchrun``'s environment variables; without them it is the only process."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    return Ranks(*(int(os.environ.get(name, default)) for name, default in zip(names, (0, 1, 0), strict=True)))


@contextmanager
def joined(ranks: Ranks, *, device: torch.device) -> Iterator[None]:
    """Join the processes in a process group during the block: NCCL between GPUs, Gloo between CPUs."""
    if ranks.count == 1:
        yield
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()
