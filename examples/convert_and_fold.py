"""Convert and fold: a network with batch norm gets mean spectral norm, which is then folded for inference.

Run it as ``python examples/convert_and_fold.py [FOLDER]``.
"""

import sys
import tempfile
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

import meandrift as md
from dynamics.data.mnist_subset import load_mnist_subset


def block(inputs: int, outputs: int) -> nn.Sequential:
    """Return a convolution with batch norm and ReLU, written as usual."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=2, bias=False), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.1)
    )


def main(folder: Path) -> None:
    """Convert the network, train it under a probe and fold it. The folded network has the same outputs."""
    torch.manual_seed(0)
    data = load_mnist_subset()
    with_batch_norm = nn.Sequential(block(1, 16), block(16, 32), nn.Flatten(), nn.Linear(32 * 36, 10))
    model = md.convert(with_batch_norm, "msn")  # a copy: W / sigma(W), and h - E[h] + m for each batch norm
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    with md.Probe(model, optimizer, store=folder / "runs", run="msn", every=20, overwrite=True):
        for _ in range(80):
            batch = torch.randint(len(data.train), (64,))
            loss = F.cross_entropy(model(data.train.pixels[batch] / 255), data.train.labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    folded = md.fold(model)
    torch.save(folded, folder / "folded.pt")
    images, labels = data.test.pixels / 255, data.test.labels
    with torch.no_grad():
        expected, got = model.eval()(images), folded(images)
    for name, network in {"batch norm": with_batch_norm, "MSN": model, "folded": folded}.items():
        kinds = sorted({type(module).__name__.removeprefix("Parametrized") for module in network.modules()})
        print(f"{name:<10} {sum(p.numel() for p in network.parameters()):>6} parameters, modules {', '.join(kinds)}")
    print(f"accuracy: MSN {(expected.argmax(1) == labels).float().mean():.3f}, ", end="")
    print(
        f"folded {(got.argmax(1) == labels).float().mean():.3f}; outputs differ by {(expected - got).abs().max():.1e}"
    )
    largest = md.inspect(folded)["spectral_norm"].max()
    print(f"largest spectral norm: {largest:.2f}; it is 1 once the power iteration has caught up with the weights")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="meandrift-")))
