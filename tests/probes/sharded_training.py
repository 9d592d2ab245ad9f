"""Train a small model on one of two gloo ranks by tensor parallelism and by pipeline stages, as test_ranks.py does.

Rank 0 leaves losses and final weights in ``<folder>/tensor-parallel.pt`` and ``<folder>/tensor-parallel-bare.pt``, and
the store in ``<folder>/runs``. What gathering shards costs is printed by

    torchrun --nproc-per-node 2 tests/probes/sharded_training.py <folder>
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.pipelining import PipelineStage, ScheduleGPipe
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

from probes import Probe

STEPS, BATCH, WIDTH = 3, 8, 6
EVERY = dict.fromkeys(["weights", "gradients", "activations", "singular_values", "spectrum", "updates"], 1)
WIDE = 512  # of the layers whose gathering is timed


def make_model() -> nn.Module:
    """Return the same model on every rank: two linear layers that tensor parallelism splits, and a head."""
    torch.manual_seed(0)
    layers = {"up": nn.Linear(WIDTH, 8), "act": nn.ReLU(), "down": nn.Linear(8, WIDTH), "head": nn.Linear(WIDTH, 2)}
    model = nn.Sequential()
    for name, layer in layers.items():
        model.add_module(name, layer)
    return model


def make_batches() -> torch.Tensor:
    """Return the batches, ``(STEPS, BATCH, WIDTH)``, the same on every rank."""
    return torch.randn(STEPS, BATCH, WIDTH, generator=torch.Generator().manual_seed(1))


def train(model: nn.Module, folder: Path, *, run: str | None, **settings: Any) -> dict[str, Any]:
    """Train on whole batches, under a probe if there is a run, and return the losses."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    probe = (
        Probe(model, optimizer, run=run, store=folder / "runs", every=EVERY, strict=True, **settings) if run else None
    )
    losses = {}
    for step, x in enumerate(make_batches()):
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        losses[f"loss {step}"] = loss.detach()
    if probe is not None:
        probe.close()
    return losses


def split_tensors(model: nn.Module) -> nn.Module:
    """Split the first two layers over the ranks: one by its outputs, the other by its inputs."""
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    return parallelize_module(model, mesh, {"up": ColwiseParallel(), "down": RowwiseParallel()})


def stages_run() -> bool:
    """Return whether this torch can run pipeline stages over gloo: torch 2.9 aborts in its own first exchange."""
    return not torch.__version__.startswith("2.9.")


def train_stages(folder: Path) -> None:
    """Train a pipeline of two stages in two micro-batches, a run a stage."""
    rank = dist.get_rank()
    model = make_model()
    own = nn.Sequential(model.up, model.act) if rank == 0 else nn.Sequential(model.down, model.head)
    sizes = (WIDTH, 8) if rank == 0 else (8, 2)
    # Without shapes torch finds them by passes over uninitialised memory, which the probe would count at step 0.
    given, returned = (torch.zeros(BATCH // 2, size, requires_grad=rank > 0 or size == 8) for size in sizes)
    stage = PipelineStage(own, rank, 2, torch.device("cpu"), input_args=given, output_args=returned)
    schedule = ScheduleGPipe(stage, n_microbatches=2, loss_fn=lambda out, _: out.square().mean())
    optimizer = torch.optim.SGD(own.parameters(), lr=0.1)
    run = f"stage-{rank}"
    with Probe(own, optimizer, run=run, store=folder / "runs", every=EVERY, strict=True, distributed=False):
        for x in make_batches():
            optimizer.zero_grad()
            schedule.step(x) if rank == 0 else schedule.step(target=torch.zeros(BATCH, 2))
            optimizer.step()


def refusal(folder: Path) -> str:
    """Return the words in which stages that would share a run are refused."""
    own = nn.Linear(2, 2) if dist.get_rank() == 0 else nn.Sequential(nn.Linear(2, 2))
    try:
        Probe(own, run="shared", store=folder / "runs")
    except ValueError as error:
        return str(error)
    return ""


def count_gathered() -> list[int]:
    """Return a list to which each gathering of a sharded tensor adds its bytes."""
    gathered: list[int] = []
    gather = DTensor.full_tensor

    def counted(tensor: DTensor, **settings: Any) -> torch.Tensor:
        whole = gather(tensor, **settings)
        gathered.append(whole.nbytes)
        return whole

    DTensor.full_tensor = counted
    return gathered


def time_gathering(folder: Path) -> dict[str, float]:
    """Return the least seconds of a step under FSDP2 and without, bare and recorded, and the bytes of a record."""
    seconds: dict[str, float] = {}
    gathered = count_gathered()
    for way in ("fsdp", "whole"):
        torch.manual_seed(0)
        model = nn.Sequential(*(nn.Linear(WIDE, WIDE, bias=False) for _ in range(4)))
        if way == "fsdp":
            for layer in model:
                fully_shard(layer)
            fully_shard(model)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        settings = {"metrics": ["weights", "gradients"], "every": 1, "distributed": way == "fsdp"}
        x = torch.randn(16, WIDE)
        for run in (None, f"time-{way}-{dist.get_rank()}" if way == "whole" else "time-fsdp"):
            probe = Probe(model, optimizer, run=run, store=folder / "timed", **settings) if run else None
            best = float("inf")
            gathered.clear()
            for _ in range(6):
                dist.barrier()
                began = time.perf_counter()
                optimizer.zero_grad()
                model(x).square().mean().backward()
                optimizer.step()
                best = min(best, time.perf_counter() - began)
            seconds[f"{way}{' probed' if run else ''}"] = best
            seconds[f"{way} gathered MB"] = sum(gathered) / 6 / 1e6
            if probe is not None:
                probe.close()
    return seconds


def train_sharded(folder: Path) -> None:
    """Train as one rank of two, in all ways; leave what each rank was refused in ``refused.json``."""
    for run in ("tensor-parallel", None):
        model = split_tensors(make_model())
        left = train(model, folder, run=run)
        for name, tensor in model.state_dict().items():
            left[name] = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
        if dist.get_rank() == 0:
            torch.save(left, folder / f"tensor-parallel{'' if run else '-bare'}.pt")
    if stages_run():
        train_stages(folder)
    refused: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(refused, refusal(folder))
    if dist.get_rank() == 0:
        (folder / "refused.json").write_text(json.dumps(refused))


if __name__ == "__main__":
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    measured = time_gathering(Path(sys.argv[1]))
    if dist.get_rank() == 0:
        print(json.dumps({name: round(value, 4) for name, value in measured.items()}))
    dist.destroy_process_group()
