"""Find a sick layer: two faults in one network, each named with layer, first step, cause and remedy.

Run it as ``python examples/find_sick_layer.py [FOLDER]``.
"""

import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

import meandrift as md


def train(store: Path, run: str, *, sick: bool) -> None:
    """Train five linear layers for 200 steps, with or without the faults."""
    torch.manual_seed(0)
    sizes = [16, 64, 64, 64, 64, 2]
    model = nn.Sequential()
    for number, (inputs, outputs) in enumerate(pairwise(sizes)):
        model.add_module(f"layer{number}", nn.Linear(inputs, outputs))
        if outputs > 2:
            model.add_module(f"relu{number}", nn.ReLU())
    if sick:
        nn.init.constant_(model.layer1.bias[:62], -9.0)  # fault 1: 62 of 64 units are positive for no input
    given = [p for name, p in model.named_parameters() if not (sick and name.startswith("layer3"))]  # fault 2
    optimizer = torch.optim.Adam(given, lr=3e-3)
    with md.Probe(model, optimizer, store=store, run=run, every=5, overwrite=True) as probe:
        for _ in range(200):
            x = torch.randn(64, 16)
            loss = F.cross_entropy(model(x), (x.sum(1) > 0).long())
            model.zero_grad()
            loss.backward()
            optimizer.step()
            probe.log(loss=loss)


def main(folder: Path) -> None:
    """Train a sick and a healthy network, and print the findings of each."""
    for run in ("sick", "healthy"):
        train(folder / "runs", run, sick=run == "sick")
        print(f"== {run} ==\n{md.findings(folder / 'runs', runs=run)}")
    print(f"the same on the command line: meandrift check {folder / 'runs'}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="meandrift-")))
