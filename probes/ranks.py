"""Ranks: several processes that make one record together.

Each rank measures the parameters of its share of the layers. The results of all ranks are added up by one collective
for each record, for any number of metrics. Under DDP, weights and gradients are the same on all ranks. Under FSDP2,
each layer's shards are gathered for the rank that measures the layer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

_Made = TypeVar("_Made")


class Ranks:
    """The process group in which a probe works.

    A single process is a group of one without communication.
    """

    def __init__(self, *, distributed: bool | None = None) -> None:
        """Join the default process group.

        Args:
            distributed: None joins if a group of several processes is initialised. False stays alone.

        Raises:
            ValueError: ``distributed`` is True and no process group is initialised.
        """
        ready = dist.is_available() and dist.is_initialized()
        if distributed and not ready:
            raise ValueError(
                "distributed=True: no process group is initialised; call torch.distributed.init_process_group first."
            )
        joined = ready and distributed is not False
        self.count = dist.get_world_size() if joined else 1
        self.rank = dist.get_rank() if joined else 0
        self._sizes: dict[str, list[int]] = {}

    @property
    def device(self) -> torch.device:
        """The device of the collectives' tensors."""
        on_cuda = self.count > 1 and "nccl" in dist.get_backend()
        return torch.device("cuda", torch.cuda.current_device()) if on_cuda else torch.device("cpu")

    def owns(self, index: int) -> bool:
        """Whether this rank measures the parameters of a layer."""
        return index % self.count == self.rank

    def share(self, make: Callable[[], _Made]) -> _Made:
        """Return the value that rank 0 makes on every rank. An exception on rank 0 is raised on every rank.

        Raises:
            ValueError: Rank 0 has raised an exception. The message has its text.
        """
        if self.count == 1:
            return make()
        made: list[Any] = [None, None]
        failure: Exception | None = None
        if self.rank == 0:
            try:
                made[0] = make()
            except Exception as error:
                failure, made[1] = error, f"{type(error).__name__}: {error}"
        dist.broadcast_object_list(made, src=0, device=self.device)
        if failure is not None:
            raise failure
        if made[1] is not None:
            raise ValueError(f"rank 0: {made[1]}")
        result: _Made = made[0]
        return result

    def check_same(self, names: Sequence[str]) -> None:
        """Refuse a common record of ranks that observe different layers.

        Raises:
            ValueError: Ranks observe different layers, as the stages of a pipeline do.
        """
        if self.count == 1:
            return
        found: list[Any] = [None] * self.count
        dist.all_gather_object(found, list(names))
        if any(other != found[0] for other in found):
            first = ", ".join(f"{other[0]} on rank {rank}" for rank, other in enumerate(found[:4]))
            raise ValueError(
                f"ranks observe different layers (the first is {first}), so they cannot record together. Give each "
                "stage of a pipeline a run of its own: Probe(stage, ..., run=f'stage-{rank}', distributed=False)."
            )

    def add(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """Return the sums over ranks of float64 tensors that have the same shapes on all ranks."""
        if self.count == 1 or not parts:
            return list(parts)
        flat = torch.cat([part.reshape(-1) for part in parts]).to(self.device)
        dist.all_reduce(flat)
        sizes = [part.numel() for part in parts]
        return [piece.reshape(part.shape) for piece, part in zip(flat.split(sizes), parts, strict=True)]

    def gather(self, source: str, vectors: Mapping[int, Tensor], layers: int) -> dict[int, Tensor]:
        """Return each layer's vectors from all ranks, ``(ranks, size)``; zeros if a rank has no vector.

        The ranks agree on sizes at the first record. On CUDA, a layer that is first seen later, or with another size,
        is left out: to agree again would need a synchronisation at each record.

        Args:
            source: The name of the source, under which the sizes of its vectors are remembered.
            vectors: This rank's vector of each layer that it saw.
            layers: Number of observed layers.
        """
        if self.count == 1:
            return {index: vector.unsqueeze(0) for index, vector in vectors.items()}
        device = self.device
        if source not in self._sizes or device.type == "cpu":
            lengths = torch.tensor([len(vectors.get(index, ())) for index in range(layers)], device=device)
            dist.all_reduce(lengths, dist.ReduceOp.MAX)
            self._sizes[source] = lengths.tolist()
        sizes = self._sizes[source]
        empty = torch.zeros(0, dtype=torch.float64, device=device)
        mine = [vectors.get(index, empty).double() for index in range(layers)]
        fitting = [v if len(v) == n else v.new_zeros(n) for v, n in zip(mine, sizes, strict=True)]
        flat = torch.cat(fitting)
        parts = [torch.empty_like(flat) for _ in range(self.count)]
        dist.all_gather(parts, flat)
        columns = torch.stack(parts).split(sizes, dim=1)
        return {index: column for index, column in enumerate(columns) if sizes[index]}
