"""DDP: every rank makes the same probe, and rank 0 writes one run with the numbers of the whole batch.

Run it as ``python examples/ddp.py [FOLDER]``: two processes on the CPU. Under torchrun, call ``train`` in each process.
"""

import sys
import tempfile
from pathlib import Path

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

import meandrift as md

RANKS = 2


def train(rank: int, folder: Path) -> None:
    """Train this rank's copy of the model on its half of every batch."""
    rendezvous = f"file://{folder.resolve()}/rendezvous"
    distributed.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=RANKS)
    torch.manual_seed(0)  # the same model on each rank
    model = DistributedDataParallel(nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 1)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)

    with md.Probe(model, optimizer, store=folder / "runs", run="ddp", every=5, overwrite=True) as probe:
        for _ in range(36):
            whole = torch.randn(64, 16)
            x = whole.chunk(RANKS)[rank]
            loss = (model(x) - x.sum(1, keepdim=True)).square().mean()
            optimizer.zero_grad()
            loss.backward()  # averages the gradient over the ranks
            optimizer.step()
            probe.log(loss=loss)
    print(f"rank {rank}: the averaged gradient of layer 0 has norm {model.module[0].weight.grad.norm():.6f} at step 35")
    distributed.destroy_process_group()


def main(folder: Path) -> None:
    """Start the ranks, and read the run that they recorded."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rendezvous").unlink(missing_ok=True)
    torch.multiprocessing.spawn(train, args=(folder,), nprocs=RANKS)
    layers = md.layers(folder / "runs", columns=["grad_l2_norm", "grad_micro_batches"])
    print(f"one run of both ranks, {len(layers)} rows in {folder / 'runs'}; its last record:")
    print(layers.loc[layers["step"] == 35, ["layer", "grad_l2_norm", "grad_micro_batches"]].to_string(index=False))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="meandrift-")))
