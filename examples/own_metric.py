"""Own metric: your function computes a new column of the store, on its own schedule.

Run it as ``python examples/own_metric.py [FOLDER]``.
"""

import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import meandrift as md

KURTOSIS = md.Column("weight_kurtosis", "1", "mean((W - mean)^4) / var^2; 3 for a normal distribution", tensor="weight")


@md.metric(reads="weight", columns=[KURTOSIS])
def weight_kurtosis(weights: list[Tensor]) -> Tensor:
    """Return the kurtosis of each layer's weight: one number for each tensor of the list."""
    centred = [weight - weight.mean() for weight in weights]
    return torch.stack([w.pow(4).mean() / w.square().mean().square() for w in centred])


def main(folder: Path) -> None:
    """Record the new metric at every step, and the built-in weight metrics at every tenth."""
    torch.manual_seed(0)
    store = folder / "runs"
    model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    metrics = ["weights", weight_kurtosis]
    every = {"weight_kurtosis": 1, "weights": 10}

    with md.Probe(model, optimizer, store=store, run="own", metrics=metrics, every=every, overwrite=True):
        for _ in range(100):
            x = torch.randn(64, 32)
            loss = F.cross_entropy(model(x), (x[:, 0] > 0).long())  # only the first input matters
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    layers = md.layers(store, columns=["weight_kurtosis", "weight_mean"])
    table = layers.pivot(index="step", columns="layer", values="weight_kurtosis")
    print("kurtosis of the weights, by layer (a uniform start has 1.8):")
    print(table.iloc[[0, 9, 49, 99]].round(2))
    measured = layers.groupby("layer", observed=True)[["weight_kurtosis", "weight_mean"]].count()
    print(f"records of each column, by layer:\n{measured}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="meandrift-")))
