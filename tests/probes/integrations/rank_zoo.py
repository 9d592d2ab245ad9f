"""Train networks of the zoo on one of several gloo ranks, with DDP and with FSDP2, bare and probed.

    python -m tests.probes.integrations.rank_zoo <folder> <way> <name> ...

needs torchrun's variables. Rank 0 leaves what it saw in ``<folder>/<way>-<name>.json``, and the store in
``<folder>/runs``.
"""

import json
import sys
import traceback
from contextlib import nullcontext
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from probes import Probe
from tests.probes.integrations.zoo import SAMPLES, ZOO

STEPS = 3
UNUSED = {"mixtral"}  # experts that no word is sent to have no gradient


def whole(tensor):
    """Return a tensor that may be spread over the ranks."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def train(way, name, folder, *, probed):
    """Train a network and return what this rank saw, and its final state."""
    torch.manual_seed(0)
    model, samples = ZOO[name]()
    inner = model
    if way == "ddp":
        model = DistributedDataParallel(model, find_unused_parameters=name in UNUSED)
    else:
        fully_shard(model, mesh=init_device_mesh("cpu", (dist.get_world_size(),)))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.05)
    run = f"{way}-{name}"
    probe = Probe(model, optimizer, run=run, store=folder / "runs", every=1, strict=True) if probed else None
    seen = {"gradients": [], "losses": []}
    with probe or nullcontext():
        for step in range(STEPS):
            if probe is not None:
                probe.epoch = step
            mine = [samples[(4 * step + 2 * dist.get_rank() + number) % SAMPLES] for number in range(2)]
            batch = {key: torch.stack([sample[key] for sample in mine]) for key in mine[0]}
            loss = model(**batch)["loss"]
            loss.backward()
            lengths = {
                key: whole(p.grad).double().norm().item() for key, p in inner.named_parameters() if p.grad is not None
            }
            optimizer.step()
            if probe is not None:
                probe.log(loss=loss)
            optimizer.zero_grad()
            seen["gradients"].append(lengths)
            seen["losses"].append(loss.item())
    return seen, {key: whole(value) for key, value in inner.state_dict().items()}


def main(folder, way, names):
    """Train each network without a probe and with one; both must end in the same bits."""
    dist.init_process_group("gloo")
    for name in names:
        try:
            (bare, before), (seen, after) = (train(way, name, folder, probed=probed) for probed in (False, True))
            seen["silent"] = bare == seen and all(torch.equal(before[key], after[key]) for key in before)
        except Exception:  # of this network: the others are still to come
            seen = {"silent": False, "error": traceback.format_exc()}
        if dist.get_rank() == 0:
            (folder / f"{way}-{name}.json").write_text(json.dumps(seen))
    dist.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
