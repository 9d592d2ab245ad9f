"""Benchmark the default schedule on a large model: one process, 2,000 steps, everything that comes due in them.

    python tests/benchmarks/default_schedule.py --rounds 20 --result default_schedule.json

A GPT-2 of 30 million parameters trains on 4 x 64 tokens, with AdamW and one thread. The model is trained in blocks:
100 steps under a probe with its defaults (one record), 20 steps bare, 20 steps bare again (the A/A control), and with
``--every 10`` 20 steps under a probe that records at every tenth step; in random order, 20 rounds. All blocks train the
same model, because equal copies differ by up to 4 % of a step with their place in memory. A probe is therefore attached
before each of its blocks and detached behind it, and what it still computes is waited for, outside the measured time.

Four numbers are printed for each arm. ``ratio`` is the mean duration of all its steps over that of the bare ones.
``records`` is what recorded steps take beyond the others of their block, as a part of the arm's whole time. ``between``
is the median ratio of the steps that record nothing. ``longest`` is the longest step in bare steps.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
BARS = {"default": 1.01, "every 10": 1.04}
LONGEST = 1.5
RECORDED_EVERY = {"default": 100, "every 10": 10}


@dataclass
class Arm:
    """Blocks of one kind.

    Attributes:
        step: Makes a training step.
        length: Steps of a block.
        probe: The probe that is attached for the blocks; None for a bare arm.
        blocks: The seconds of the steps of each block.
    """

    step: Callable[[], None]
    length: int
    probe: Any = None
    blocks: list[list[float]] = field(default_factory=list)

    def train(self) -> None:
        """Make one block of steps; time each."""
        took = []
        if self.probe is not None:
            self.probe.attach()
        for _ in range(self.length):
            began = time.perf_counter()
            self.step()
            took.append(time.perf_counter() - began)
        self.blocks.append(took)
        if self.probe is not None:
            self.probe.detach()
            self.probe.flush()

    @property
    def mean(self) -> float:
        """The mean duration of a step."""
        return statistics.fmean(t for took in self.blocks for t in took)


def make(names: list[str], folder: Path, settings: argparse.Namespace) -> dict[str, Arm]:
    """Return the arms, all of which train one model."""
    import torch
    from networks import WORDS, Gpt
    from torch.nn import functional as F

    from probes import Probe

    torch.manual_seed(0)
    model = Gpt(width=settings.width, depth=6, heads=6, most=128)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    tokens = torch.randint(WORDS, (4, 65))

    def step() -> None:
        loss = F.cross_entropy(model(tokens[:, :-1]), tokens[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def watched(every: int) -> Probe:
        probe = Probe(model, optimizer, store=folder, run=f"every-{every}", every=every, strict=True)
        probe.detach()
        return probe

    probes = {name: watched(RECORDED_EVERY[name]) for name in names if name in RECORDED_EVERY}
    lengths = {"default": settings.default_steps}
    return {name: Arm(step, lengths.get(name, settings.steps), probes.get(name)) for name in names}


def measured(names: list[str], settings: argparse.Namespace) -> dict[str, Any]:
    """Train all arms in turns; return the numbers of each."""
    with tempfile.TemporaryDirectory() as folder:
        arms = make(names, Path(folder), settings)
        for _ in range(3):  # the first steps make the optimizer's state
            arms["bare"].step()
        for turn in range(settings.rounds):
            for name in random.Random(turn).sample(names, len(names)):
                arms[name].train()
            print(turn, {name: round(statistics.fmean(arm.blocks[-1]), 4) for name, arm in arms.items()}, flush=True)
        for arm in arms.values():
            if arm.probe is not None:
                arm.probe.close()
    return {name: numbers(arm, arms["bare"], RECORDED_EVERY.get(name)) for name, arm in arms.items()}


def numbers(arm: Arm, bare: Arm, every: int | None) -> dict[str, Any]:
    """Return what the module's docstring names, each over all blocks."""
    recorded = [took[::every] if every else [] for took in arm.blocks]
    others = [[t for i, t in enumerate(took) if not every or i % every] for took in arm.blocks]
    pairs = zip(others, bare.blocks, strict=True)
    beyond = sum(sum(took) - len(took) * statistics.median(rest) for took, rest in zip(recorded, others, strict=True))
    usual = statistics.median(t for took in bare.blocks for t in took)
    return {
        "blocks": [[round(t, 4) for t in took] for took in arm.blocks],
        "steps": sum(map(len, arm.blocks)),
        "bare_seconds": usual,
        "ratio": arm.mean / bare.mean,
        "records": beyond / sum(map(sum, arm.blocks)),
        "between": statistics.median(statistics.median(rest) / statistics.median(base) for rest, base in pairs),
        "longest": max(map(max, arm.blocks)) / usual,
        "recorded": [round(t / usual, 3) for took in recorded for t in took],
    }


def main() -> None:
    """Measure, print and keep."""
    sys.path[:0] = [str(Path(__file__).parent), str(TESTS / "gpu")]
    from probe_overhead import describe_machine, one_thread, restart_with_malloc_settings

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="blocks of each arm")
    parser.add_argument("--default-steps", type=int, default=100, help="steps of a block under the default probe")
    parser.add_argument("--steps", type=int, default=20, help="steps of every other block")
    parser.add_argument("--every", type=int, choices=[10], help="also a probe that records at every tenth step")
    parser.add_argument(
        "--width", type=int, default=384, help="of the model, a multiple of 6; 384: 30 million parameters"
    )
    parser.add_argument("--result", type=Path, help="JSON file to write the numbers to")
    settings = parser.parse_args()
    restart_with_malloc_settings()
    names = ["bare", "bare again", "default", *(["every 10"] if settings.every else [])]
    with one_thread():
        found = measured(names, settings)
        for name, values in found.items():
            said = {key: value for key, value in values.items() if key != "blocks"}
            print(name, json.dumps(said), f"bar {BARS.get(name, '-')}")
        if settings.result:
            kept = {"machine": describe_machine(), "longest_bar": LONGEST, "bars": BARS, "arms": found}
            settings.result.write_text(json.dumps(kept, indent=1))


if __name__ == "__main__":
    main()
