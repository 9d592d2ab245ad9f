"""Train small models on one of several gloo ranks, as test_ranks.py does: with DDP and with FSDP2, bare and probed.

    python tests/probes/rank_training.py <folder>

needs torchrun's variables. Rank 0 leaves losses and final weights in ``<folder>/<way>.pt`` and
``<folder>/<way>-bare.pt``, and the store in ``<folder>/runs``.
"""

import json
import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import parametrizations

from dynamics.norms import MeanCentring, convert, spectral_norm
from probes import Probe

STEPS, BATCH = 4, 8
EVERYTHING = {"spectrum": 1, "weight_histogram": 1, "activation_histogram": 1}
GROUPS = (
    "weights",
    "gradients",
    "gradient_noise",
    "activations",
    "singular_values",
    "updates",
    "saturation",
    "activation_gradients",
)


def make_model() -> nn.Module:
    """Return the same model on every rank."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 20), nn.ReLU(), nn.Linear(20, 3, bias=False))


def make_normed() -> nn.Module:
    """Return a model whose layers each carry another parametrization, means taken over all ranks."""
    torch.manual_seed(0)
    return nn.Sequential(
        spectral_norm(nn.Linear(6, 24, bias=False)),
        MeanCentring(24, inplace=True, sync=True),
        nn.ReLU(),
        parametrizations.spectral_norm(nn.Linear(24, 20)),
        nn.ReLU(),
        parametrizations.weight_norm(nn.Linear(20, 3)),
    )


def make_converted() -> nn.Module:
    """Return a model with batch norm turned into one with mean spectral norm."""
    torch.manual_seed(0)
    layers = [nn.Linear(6, 24, bias=False), nn.BatchNorm1d(24), nn.ReLU(), nn.Linear(24, 3)]
    model = convert(nn.Sequential(*layers), "msn")
    for module in model.modules():
        if isinstance(module, MeanCentring):
            module.sync = True
    return model


# How a model is trained on several ranks, and which one.
WAYS = {"ddp": make_model, "fsdp": make_model, "fsdp-normed": make_normed, "fsdp-converted": make_converted}


def make_batches() -> torch.Tensor:
    """Return the whole batches, ``(STEPS, BATCH, 6)``; rank r trains on every second sample from r."""
    return torch.randn(STEPS, BATCH, 6, generator=torch.Generator().manual_seed(1))


def train(
    model: nn.Module, batches: torch.Tensor, folder: Path, *, run: str | None, **settings: Any
) -> dict[str, torch.Tensor]:
    """Train, under a probe with these settings if there is a run, and return the losses."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    every = {**dict.fromkeys(GROUPS, 1), **EVERYTHING}
    settings = {"store": folder / "runs", "every": every, "strict": True, **settings}
    probe = Probe(model, optimizer, run=run, **settings) if run else None
    losses = {}
    for step, x in enumerate(batches):
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        losses[f"loss {step}"] = loss.detach()
        if probe is not None:
            probe.log(loss=loss)
    if probe is not None:
        probe.close()
    return losses


def spread(model: nn.Module, way: str) -> nn.Module:
    """Spread a model over the ranks."""
    if way == "ddp":
        return DistributedDataParallel(model)
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for module in model if way != "fsdp-converted" else ():  # its weights are normed in the model's own forward hook
        if isinstance(module, nn.Linear):
            fully_shard(module, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def accumulate(model: nn.Module, folder: Path, *, passes: int, run: str) -> None:
    """Make one step of some backward passes of 2 samples each, loss scaled and gradient clipped."""
    rank, count = dist.get_rank(), dist.get_world_size()
    x = make_batches().flatten(0, 1)[: 2 * passes * count].unflatten(0, (count, passes, 2))[rank]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    with Probe(model, optimizer, store=folder / "runs", run=run, every=1, strict=True):
        for number, part in enumerate(x, start=1):
            with nullcontext() if number == passes else model.no_sync():
                scaler.scale(model(part).square().mean() / passes).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 0.01)
        scaler.step(optimizer)


def open_together(folder: Path) -> None:
    """Open a run without a name, one that is there, and one that goes on; leave what each rank knows of it."""
    model = DistributedDataParallel(nn.Linear(6, 3))
    with Probe(model, store=folder / "unnamed", every=1) as probe:
        known: dict[str, Any] = {"name": probe.run}
    try:
        Probe(model, store=folder / "unnamed", run=probe.run)
    except ValueError as error:
        known["error"] = str(error)
    for count in (3, 2):
        train(model, make_batches()[:count, :4], folder, run="auto", resume="auto")
    of_all: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(of_all, known)
    if dist.get_rank() == 0:
        (folder / "opened.json").write_text(json.dumps(of_all))


def main(folder: Path) -> None:
    """Train as one rank, in all ways."""
    dist.init_process_group("gloo")
    rank, count = dist.get_rank(), dist.get_world_size()
    for way, make in WAYS.items():
        for run in (way, None):
            model = spread(make(), way)
            left = train(model, make_batches()[:, rank::count], folder, run=run)
            for name, tensor in model.state_dict().items():
                left[name] = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
            if rank == 0:
                torch.save(left, folder / f"{way if run else way + '-bare'}.pt")
    seldom = {"run": "ddp-seldom", "every": 2, "probe_batch": make_batches()[0]}
    train(spread(make_model(), "ddp"), make_batches()[:, rank::count], folder, **seldom)
    spoilt = make_batches()[:, rank::count].clone()
    spoilt[1, 0, 0] = float("nan") if rank == count - 1 else 1.0  # in the batch of one rank alone
    train(spread(make_model(), "ddp"), spoilt, folder, run="ddp-nan", every=3)
    for passes in (1, 2):
        accumulate(spread(make_model(), "ddp"), folder, passes=passes, run=f"noise-{passes}")
    accumulate(make_model(), folder, passes=1, run="noise-unshared")
    train(nn.Sequential(nn.Linear(6, 3), nn.LayerNorm(3)), make_batches(), folder, run="vectors", include=nn.LayerNorm)
    open_together(folder)
    from sharded_training import train_sharded  # beside this script

    train_sharded(folder)
    dist.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
    # All is written. Threads of torch's process groups abort the process now and then as the interpreter ends.
    os._exit(0)
