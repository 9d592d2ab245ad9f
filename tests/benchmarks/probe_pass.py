"""What one pass of the probe batch costs, in training steps, and what the default schedule makes of it.

    python tests/benchmarks/probe_pass.py --model vgg7 --norm msn --steps 40

Steps with a pass and steps without take turns in one training, so that a slow moment of the machine meets both.
``pass_price`` of ``probes.measuring.pricing`` rests on these numbers.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from statistics import median

import torch
from torch.nn import functional as F

from dynamics.models import build
from probes import Probe
from probes.measuring.plan import EVERY
from probes.measuring.pricing import PassSchedule

SHAPES = {"cnn3": (1, 28), "vgg7": (3, 32), "densenet_bc": (3, 32)}


def measured(model: str, norm: str, *, batch: int, images: int, steps: int) -> tuple[float, float]:
    """Return the seconds of a training step, and the seconds that a pass adds to it: medians."""
    channels, size = SHAPES[model]
    network = build(model, norm, in_channels=channels, image_size=size)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    x, y = torch.randn(batch, channels, size, size), torch.randint(10, (batch,))
    times: list[float] = []
    every = {"channels": 2}
    with (
        tempfile.TemporaryDirectory() as store,
        Probe(network, optimizer, store=store, metrics=["channels"], every=every, probe_batch=x[:images].clone()),
    ):
        for _ in range(2 * steps + 2):
            began = time.perf_counter()
            optimizer.zero_grad()
            F.cross_entropy(network(x), y).backward()
            optimizer.step()
            times.append(time.perf_counter() - began)
    with_pass, without = times[2::2], times[3::2]
    return median(without), median(p - w for p, w in zip(with_pass, without, strict=True))


def main() -> None:
    """Print the price of a pass, and the part of training that passes take under the default schedule."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=SHAPES, default="cnn3")
    parser.add_argument("--norm", default="msn")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--steps", type=int, default=40)
    given = parser.parse_args()
    torch.set_num_threads(1)
    step, added = measured(given.model, given.norm, batch=given.batch, images=given.images, steps=given.steps)
    schedule = PassSchedule(given.images, EVERY, lambda **_: None)
    shapes = {0: (None, (given.batch,))}
    due = [number for number in range(0, 20 * EVERY, EVERY) if schedule.due(number, shapes)]
    print(
        f"{given.model} {given.norm}: step {step * 1e3:.1f} ms, pass {added * 1e3:.1f} ms = {added / step:.2f} steps; "
        f"default schedule, 2,000 steps: {len(due)} passes, {len(due) * added / (20 * EVERY * step):.5f} of training"
    )


if __name__ == "__main__":
    main()
