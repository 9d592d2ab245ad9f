"""What computing singular values on an idle core gains: the reason that ``probes/background`` takes snapshots.

    python notes/background_gain.py --model vgg7 --rounds 20

One process trains three copies of a network under a probe that records singular values at every step. Arms take turns:
with snapshots (``background``), the same again (``again``, the A/A control), and with a budget that finds no idle core
(``at once``). A ratio is the median over rounds of an arm's time over that of ``background`` in the same round; a block
ends when its last records are written. The gain is what the ratio of ``at once`` has above 1. A control further than
0.02 from 1 makes the process worthless.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch
from torch.nn import functional as F

from dynamics.models import build
from dynamics.runtime.allocator import keep_freed_memory
from probes import Probe
from probes.background.budget import Limits

SHAPES = {"cnn3": (1, 28, 28), "vgg7": (3, 32, 32), "densenet_bc": (3, 32, 32)}
BATCH = {"cnn3": 64, "vgg7": 64, "densenet_bc": 16}
ARMS = {"background": Limits(), "again": Limits(), "at once": Limits(idle=lambda: False)}


class Arm:
    """One copy of a training under a probe."""

    def __init__(self, model: str, limits: Limits, store: Path) -> None:
        torch.manual_seed(0)
        channels, size, _ = SHAPES[model]
        self._model = build(model, "bn", in_channels=channels, image_size=size)
        self._optimizer = torch.optim.SGD(self._model.parameters(), lr=1e-3)
        self._probe = Probe(
            self._model,
            self._optimizer,
            store=store,
            run="a",
            every=1,
            metrics=["weights", "gradients", "activations", "singular_values"],
            _limits=limits,
        )
        self._images = torch.randn(BATCH[model], *SHAPES[model])
        self._labels = torch.randint(10, (BATCH[model],))

    def block(self, steps: int) -> float:
        """Train some steps and return the seconds of one."""
        began = time.perf_counter()
        for _ in range(steps):
            self._optimizer.zero_grad()
            F.cross_entropy(self._model(self._images), self._labels).backward()
            self._optimizer.step()
        self._probe._run._writer.flush()
        return (time.perf_counter() - began) / steps

    def close(self) -> None:
        """End the run."""
        self._probe.close()


def main() -> None:
    """Measure one network and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=SHAPES, required=True)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=8)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        arms = {name: Arm(asked.model, limits, Path(folder) / name) for name, limits in ARMS.items()}
        ratios: dict[str, list[float]] = {name: [] for name in ARMS}
        for round_ in range(asked.rounds + 1):
            names = list(ARMS)
            turn = names[round_ % 3 :] + names[: round_ % 3]
            seconds = {name: arms[name].block(asked.steps) for name in turn}
            if round_:  # the first warms up
                for name in names:
                    ratios[name].append(seconds[name] / seconds["background"])
        for arm in arms.values():
            arm.close()
    found = {name: statistics.median(values) for name, values in ratios.items()}
    print(json.dumps({"model": asked.model, "ratio to background": found}))


if __name__ == "__main__":
    main()
