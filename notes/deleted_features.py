"""What each piece of speed code gained by itself, measured on the last commit that has all of them.

    git worktree add ../before abb7bfd
    PYTHONPATH=../before python notes/deleted_features.py --model cnn3 --rounds 40

One process trains the same network in several arms that take turns: all features (``all``), all features once more
(``again``, the A/A control), and one arm a feature with that feature alone switched off. A ratio is the median over
rounds of the time of an arm over that of ``all`` in the same round. A feature gains as much as its ratio is above 1; a
control further than 0.02 from 1 makes the process worthless.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from dynamics.allocator import keep_freed_memory
from torch.nn import functional as F

from dynamics.models import build
from probes import Probe

SHAPES = {"cnn3": (1, 28, 28), "vgg7": (3, 32, 32), "densenet_bc": (3, 32, 32)}
SETTINGS: dict[str, dict[str, Any]] = {
    "cnn3": {"image_size": 28},
    "vgg7": {"in_channels": 3, "image_size": 32},
    "densenet_bc": {"in_channels": 3, "image_size": 32},
}
BATCH = {"cnn3": 64, "vgg7": 64, "densenet_bc": 16}
WATCHED = ["weights", "gradients", "activations"]


def no(*_: Any) -> bool:
    """Refuse."""
    return False


NORM_FEATURES: dict[str, list[tuple[str, Any]]] = {
    "gradient reuse (norms/ownership.py)": [
        ("dynamics.norms.mean_centring.is_ours", no),
        ("dynamics.models.activation.is_ours", no),
        ("dynamics.models.stack.is_ours", no),
    ],
    "one function for centring and LeakyReLU (models/stack.py)": [("dynamics.models.stack._may_be_one", no)],
    "the class swap (_Weight in norms/spectral_norm.py)": [
        ("dynamics.norms.spectral_norm._Weight.__call__", torch.nn.Module.__call__)
    ],
}
PROBE_FEATURES: dict[str, tuple[list[str], list[tuple[str, Any]]]] = {
    "moments from batch norm (batch_norm.py)": (WATCHED, [("probes.activations.WORTH", 1 << 60)]),
    "copies of small networks (copies, set_aside, later)": (WATCHED[:2], [("probes.writer.MAX_COPIED", 0)]),
    "singular values begun early (head_start.py)": (
        [*WATCHED, "singular_values"],
        [("probes.head_start.leaves_cores_idle", no)],
    ),
}


@contextmanager
def without(patches: list[tuple[str, Any]]) -> Iterator[None]:
    """Switch a feature off."""
    with ExitStack() as stack:
        for name, value in patches:
            stack.enter_context(patch(name, value))
        yield


class Arm:
    """One network in training, with some features off."""

    def __init__(self, model: str, norm: str, patches: list[tuple[str, Any]], metrics: list[str], folder: Path) -> None:
        self._patches = patches
        torch.manual_seed(0)
        with without(patches):
            self._model = build(model, norm, **SETTINGS[model])
            self._optimizer = torch.optim.SGD(self._model.parameters(), lr=1e-3)
            self._probe = (
                Probe(self._model, self._optimizer, store=folder, run="a", every=1, metrics=metrics)
                if metrics
                else None
            )
        self._images = torch.randn(BATCH[model], *SHAPES[model])
        self._labels = torch.randint(10, (BATCH[model],))

    def block(self, steps: int) -> float:
        """Train some steps and return the seconds of one."""
        with without(self._patches):
            began = time.perf_counter()
            for _ in range(steps):
                self._optimizer.zero_grad()
                F.cross_entropy(self._model(self._images), self._labels).backward()
                self._optimizer.step()
            return (time.perf_counter() - began) / steps

    def close(self) -> None:
        """End the run."""
        if self._probe is not None:
            self._probe.close()


def compare(arms: dict[str, Callable[[int], float]], *, rounds: int, steps: int) -> dict[str, float]:
    """Return the median ratio of each arm to ``all``; the order of arms turns with the rounds."""
    names = list(arms)
    ratios: dict[str, list[float]] = {name: [] for name in names}
    for round_ in range(rounds + 1):
        turn = names[round_ % len(names) :] + names[: round_ % len(names)]
        seconds = {name: arms[name](steps) for name in turn}
        if round_:  # the first warms up
            for name in names:
                ratios[name].append(seconds[name] / seconds["all"])
    return {name: statistics.median(found) for name, found in ratios.items()}


def main() -> None:
    """Measure one network and print the gains."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=SHAPES, required=True)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--steps", type=int, default=4)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        places = (Path(folder) / str(number) for number in range(100))
        arms = {name: Arm(asked.model, "msn", [], [], next(places)) for name in ("all", "again")}
        arms |= {name: Arm(asked.model, "msn", off, [], next(places)) for name, off in NORM_FEATURES.items()}
        ratios = compare({name: arm.block for name, arm in arms.items()}, rounds=asked.rounds, steps=asked.steps)
        found |= {
            ("control, norms" if name == "again" else name): ratio for name, ratio in ratios.items() if name != "all"
        }
        for feature, (metrics, off) in PROBE_FEATURES.items():
            norm = "bn"
            trio = {
                "all": Arm(asked.model, norm, [], metrics, next(places)),
                "again": Arm(asked.model, norm, [], metrics, next(places)),
                "off": Arm(asked.model, norm, off, metrics, next(places)),
            }
            ratios = compare({name: arm.block for name, arm in trio.items()}, rounds=asked.rounds, steps=asked.steps)
            for arm in trio.values():
                arm.close()
            found |= {feature: ratios["off"], f"control of it, {feature.split(' (')[0]}": ratios["again"]}
    print(json.dumps({"model": asked.model, "ratio without the feature": found}, indent=1))


if __name__ == "__main__":
    main()
