"""First probe: two lines around a training loop, read back as a DataFrame and as a figure.

Run it as ``python examples/first_probe.py [FOLDER]``.
"""

import sys
import tempfile
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

import meandrift as md
from dynamics.data.mnist_subset import load_mnist_subset


def main(folder: Path) -> None:
    """Train a small CNN on 5,000 digits for 60 steps, recorded at every fifth."""
    torch.manual_seed(0)
    store = folder / "runs"
    digits = load_mnist_subset().train  # uint8 images (5000, 1, 28, 28) and their labels
    model = nn.Sequential(
        nn.Conv2d(1, 8, 5, stride=2),
        nn.ReLU(),
        nn.Conv2d(8, 16, 5, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(256, 10),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    with md.Probe(model, optimizer, store=store, run="first", every=5, overwrite=True) as probe:
        for _ in range(60):
            batch = torch.randint(len(digits), (64,))
            loss = F.cross_entropy(model(digits.pixels[batch] / 255), digits.labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            probe.log(loss=loss)  # optional: a column of table "steps"

    layers = md.layers(store)  # a row for each layer and recorded step
    last = layers[layers["step"] == layers["step"].max()].set_index("layer")
    print(f"{len(layers)} rows with {layers.shape[1]} columns in {store}/layers; the last record:")
    print(last[["weight_l2_norm", "grad_l2_norm", "spectral_norm", "update_ratio"]].round(4))
    md.plot("grad_l2_norm", store).savefig(folder / "grad_l2_norm.png")
    print(f"figure: {folder / 'grad_l2_norm.png'}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="meandrift-")))
