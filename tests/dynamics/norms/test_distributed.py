"""Two processes: under DistributedDataParallel what agrees on all ranks, under FSDP2 what one process would give."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

# Run as a program of its own: a test module under importlib mode cannot be imported by a spawned process.
PROGRAM = """
import gc
import sys
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from dynamics.norms import MeanCentring, spectral_norm

rank, store = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)

def agrees(tensor):
    both = [torch.empty_like(tensor) for _ in range(2)]
    dist.all_gather(both, tensor.detach().contiguous())
    return torch.equal(*both)

def network(sync):
    torch.manual_seed(0)
    conv = spectral_norm(nn.Conv2d(2, 3, 3))
    return nn.Sequential(conv, MeanCentring(3, inplace=True, sync=sync), nn.LeakyReLU(0.1, inplace=True)).double()

torch.manual_seed(1)
batch = torch.randn(6, 2, 5, 5, dtype=torch.float64) + 1
mine = batch[:2] if rank == 0 else batch[2:]  # two samples here, four there

for sync in (False, True):
    model = DistributedDataParallel(network(sync))
    for _ in range(3):
        model.zero_grad()
        model(mine).square().sum().backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 1e-3 * parameter.grad
    model(mine)
    if sync:
        assert agrees(model.module[1].running_mean)
    model.eval()(mine)  # DDP hands out rank 0's buffers before every forward
    for name, tensor in model.module.state_dict().items():
        assert agrees(tensor), name

# The synchronised mean gives what one process gives on all samples.
whole, parted = network(sync=False), DistributedDataParallel(network(sync=True))
whole(batch).square().sum().backward()
parted(mine).square().sum().backward()
for (name, expected), found in zip(whole.named_parameters(), parted.module.parameters()):
    torch.testing.assert_close(2 * found.grad, expected.grad, msg=name)  # DDP takes the mean of two sums
torch.testing.assert_close(parted.module[1].running_mean, whole[1].running_mean)

# So does its second derivative, which a gradient penalty takes.
def penalty_gradient(centring, h):
    h = h.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(centring(h).pow(3).sum(), h, create_graph=True)
    gradient.square().sum().backward()
    return h.grad

alone, together = MeanCentring(2).double(), MeanCentring(2, sync=True).double()
expected = penalty_gradient(alone, batch)
torch.testing.assert_close(penalty_gradient(together, mine), expected[:2] if rank == 0 else expected[2:])

# And so do sequences, whose channels stand behind.
behind = MeanCentring(2, channel_dim=-1, sync=True).double()
found = penalty_gradient(behind, mine.movedim(1, -1)).movedim(-1, 1)
torch.testing.assert_close(found, expected[:2] if rank == 0 else expected[2:])
torch.testing.assert_close(behind.running_mean, alone.running_mean)

# Reducers that outlive their group now and then abort the interpreter as it ends; a parameter keeps its reducer too.
del model, whole, parted, found
gc.collect()
dist.barrier()
dist.destroy_process_group()
print("agreed")
"""


SHARDED = """
import sys
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard

from dynamics.norms import convert

rank, store = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)

def network():
    torch.manual_seed(0)
    return convert(nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3)), "sn").double()

batch = torch.randn(8, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
whole, parted = network(), network()
for part in (parted[0], parted[3], parted):  # layer by layer: the model's own forward begins with weights in shards
    fully_shard(part)
for model, samples in ((whole, batch), (parted, batch.chunk(2)[rank])):
    for _ in range(3):
        model.zero_grad()
        model(samples).square().mean().backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.1 * parameter.grad
for (name, expected), found in zip(whole.named_parameters(), parted.parameters()):
    torch.testing.assert_close(found.full_tensor(), expected, msg=name)
dist.barrier()
dist.destroy_process_group()
print("agreed")
"""


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    # FSDP2 has a quick test too, under a probe: tests/probes/test_ranks.py.
    "text",
    [pytest.param(PROGRAM, id="ddp"), pytest.param(SHARDED, id="fsdp", marks=pytest.mark.slow)],
)
def test_two_processes_agree_with_each_other_and_with_one(tmp_path: Path, text: str) -> None:
    program = tmp_path / "program.py"
    program.write_text(text)
    store = tmp_path / "store"
    ranks = [
        subprocess.Popen(
            [sys.executable, str(program), str(rank), str(store)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for process in ranks:
        output, errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors
        assert output.splitlines()[-1] == "agreed"  # some versions of gloo print their connections
