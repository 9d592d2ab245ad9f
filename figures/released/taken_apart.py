"""Test the scripts' spectral norm: which of its three differences from Eq. 2, 8 and 9 lowers the accuracy?

    python figures/released/taken_apart.py --data-dir data              # all variants, 8 minutes each on one core
    python figures/released/taken_apart.py --variants equations,projection

The scripts' SN makes 100 power iterations instead of one, lets no gradient through sigma, and keeps W / sigma as the
weight instead of dividing again at every forward. Each variant changes one of these differences. All variants train the
3-layer CNN on all of MNIST with the scripts' augmentation, the same batches and the same first weights. The result of a
variant is a line of ``taken_apart.json`` beside this file. A variant that has a line is not run again.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from dynamics.classifier.config import RunConfig
from dynamics.classifier.evaluation import evaluate
from dynamics.classifier.setup import Setup, set_up
from dynamics.classifier.training import train
from dynamics.data.batches import in_order
from dynamics.data.seeding import seed_everything
from dynamics.models import MODELS
from dynamics.norms import Norm, spectral_norm
from dynamics.norms.spectral.power_iteration import iterate
from dynamics.norms.weight_matrix import unfold_weight
from probes.metrics.singular_values import single_in_columns, singular_values, spectrum_statistics

RESULTS = Path(__file__).with_suffix(".json")
CONFIG = RunConfig(
    model="cnn3", norm="sn", definition="released", data="mnist", batch_size=128, epochs=10, learning_rate=0.001
)


class Sigma(nn.Module):
    """The largest singular value of a weight as a number without a gradient, by power iteration."""

    def __init__(self, weight: Tensor, iterations: int) -> None:
        super().__init__()
        matrix = unfold_weight(weight.detach())
        self.iterations = iterations
        self.register_buffer("u", F.normalize(torch.randn(matrix.shape[0]), dim=0))
        self.register_buffer("v", F.normalize(torch.randn(matrix.shape[1]), dim=0))
        self.estimate(matrix, 15)  # the norm of Eq. 2 starts with 15 iterations too

    def estimate(self, matrix: Tensor, iterations: int) -> Tensor:
        """Return sigma after some power iterations."""
        for _ in range(iterations):
            sigma = iterate(matrix, self.u, self.v)
        return sigma

    def of(self, weight: Tensor) -> Tensor:
        """Return sigma, in training after the variant's power iterations."""
        matrix = unfold_weight(weight.detach())
        if self.training:
            return self.estimate(matrix, self.iterations)
        return self.u @ (matrix @ self.v)


class Quotient(Sigma):
    """W / sigma at every forward, and no gradient through sigma."""

    def forward(self, weight: Tensor) -> Tensor:
        """Return the quotient."""
        return weight / self.of(weight)


def detached(layer: nn.Module, *, iterations: int) -> nn.Module:
    """Divide the weight by sigma, without a gradient through sigma."""
    parametrize.register_parametrization(layer, "weight", Quotient(layer.weight, iterations))
    return layer


def projected(layer: nn.Module, *, iterations: int) -> nn.Module:
    """Divide the stored weight by sigma before every training forward."""
    layer.sigma = Sigma(layer.weight, iterations)

    def project(module: nn.Module, _inputs: tuple[Any, ...]) -> None:
        if module.training:
            module.weight.data.div_(module.sigma.of(module.weight))

    layer.register_forward_pre_hook(project)
    return layer


VARIANTS: dict[str, tuple[str, Callable[[nn.Module], nn.Module]]] = {
    "equations": ("W / sigma, gradient through sigma, 1 iteration: Eq. 2, 8, 9", spectral_norm),
    "iterations": ("100 iterations", partial(spectral_norm, n_power_iterations=100)),
    "gradient": ("no gradient through sigma", partial(detached, iterations=1)),
    "projection": ("no gradient through sigma, and W / sigma kept as the weight", partial(projected, iterations=1)),
    "scripts": ("all three", partial(projected, iterations=100)),
}


def run(name: str, *, data_dir: str) -> dict[str, Any]:
    """Train one variant and return its results."""
    setup = set_up(replace(CONFIG, threads=torch.get_num_threads()), data_dir=data_dir)
    words, weight = VARIANTS[name]
    seed_everything(CONFIG.seed)
    model = MODELS["cnn3"](Norm(name, source="taken apart", weight=weight))
    optimizer = torch.optim.Adam(model.parameters(), lr=CONFIG.learning_rate)
    accuracies: list[float] = []
    for step in train(model, optimizer, setup.batches, epochs=CONFIG.epochs):
        if (step.step + 1) % len(setup.batches) == 0:
            accuracies.append(score(model, setup))
            print(f"{name}: epoch {step.epoch + 1}: {accuracies[-1]:.2%}", flush=True)
    return {"variant": name, "what": words, "accuracy": accuracies, "effective_rank": effective_ranks(model)}


def score(model: nn.Module, setup: Setup) -> float:
    """Return the accuracy on all test images."""
    data = setup.data
    return evaluate(model, in_order(data.test, mean=data.mean, std=data.std, batch_size=1000)).accuracy


def effective_ranks(model: nn.Module) -> list[float]:
    """Return the effective rank of each convolution's weight in evaluation, with the probe's definition."""
    with torch.no_grad():
        layers = [layer for layer in model.eval().modules() if isinstance(layer, nn.Conv2d)]
        spectra = singular_values([unfold_weight(layer.weight) for layer in layers])
    _, _, _, ranks, _ = spectrum_statistics(single_in_columns(spectra).numpy())
    return ranks.tolist()


def main() -> None:
    """Run the missing variants and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", type=lambda text: text.split(","), default=list(VARIANTS))
    parser.add_argument("--data-dir", default="data")
    arguments = parser.parse_args()
    for name in arguments.variants:
        if name not in (done := read()):
            found = run(name, data_dir=arguments.data_dir)
            done = {**read(), name: found}  # read again: another process may have added a line
            lines = [json.dumps(done[each]) for each in VARIANTS if each in done]
            RESULTS.write_text("[\n" + ",\n".join(lines) + "\n]\n")
    for name, found in read().items():
        last, ranks = found["accuracy"][-1], ", ".join(f"{rank:.1f}" for rank in found["effective_rank"])
        best = max(found["accuracy"])
        print(f"{name:11s} {100 * last:6.2f} %   best {100 * best:6.2f} %   rank {ranks}   {found['what']}")


def read() -> dict[str, dict[str, Any]]:
    """Return the results of the finished variants."""
    return {found["variant"]: found for found in json.loads(RESULTS.read_text())} if RESULTS.exists() else {}


if __name__ == "__main__":
    main()
