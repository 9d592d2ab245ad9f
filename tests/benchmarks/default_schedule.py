"""Benchmark the default schedule on a large model: one process, 2,000 steps, everything that comes due in them.

    python tests/benchmarks/default_schedule.py --rounds 20 --result default_schedule.json

Three or four equal copies of a GPT-2 of 30 million parameters train in turns on 4 x 64 tokens, with AdamW and one
thread: bare, bare again (the A/A control), under a probe with its defaults (one record every 100 steps), and with
``--every 10`` under one that records at every tenth step. A round is 100 steps under the default probe and 30 of each
other arm, in random order. Between two arms the probe hands over what it still computes, outside the measured time: in
a round of its own length the background has long finished.

Three numbers are printed for each arm. ``ratio`` is the duration of all its steps over that of as many bare steps.
``records`` is what recorded steps take beyond the others of their round, as a part of the training's whole time.
``between`` is the ratio of the steps that record nothing. ``longest`` is the longest step in bare steps.
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
    """A copy of the training, what watches it, and the seconds of its steps: one list a round."""

    step: Callable[[], None]
    length: int
    hand_over: Callable[[], None] = lambda: None
    rounds: list[list[float]] = field(default_factory=list)

    def train(self) -> None:
        """Make one round of steps; time each."""
        took = []
        for _ in range(self.length):
            began = time.perf_counter()
            self.step()
            took.append(time.perf_counter() - began)
        self.rounds.append(took)
        self.hand_over()


def make(name: str, folder: Path, *, steps: int) -> Arm:
    """Return an arm: the model from seed 0, AdamW, and the probe that its name asks for."""
    import torch
    from networks import WORDS, Gpt
    from torch.nn import functional as F

    from probes import Probe

    torch.manual_seed(0)
    model = Gpt(width=384, depth=6, heads=6, most=128)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    tokens = torch.randint(WORDS, (4, 65))

    def step() -> None:
        loss = F.cross_entropy(model(tokens[:, :-1]), tokens[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    if name not in RECORDED_EVERY:
        return Arm(step, steps)
    options = {} if name == "default" else {"every": RECORDED_EVERY[name]}
    probe = Probe(model, optimizer, store=folder / name.replace(" ", "-"), run="bench", strict=True, **options)
    return Arm(step, 100 if name == "default" else steps, probe._run._writer.flush)


def measured(names: list[str], *, rounds: int, steps: int) -> dict[str, Any]:
    """Train all arms in turns; return the numbers of each."""
    with tempfile.TemporaryDirectory() as folder:
        arms = {name: make(name, Path(folder), steps=steps) for name in names}
        for turn in range(rounds):
            for name in random.Random(turn).sample(names, len(names)):
                arms[name].train()
            print(turn, {name: round(statistics.fmean(arm.rounds[-1]), 4) for name, arm in arms.items()}, flush=True)
    return {name: numbers(arm, arms["bare"], RECORDED_EVERY.get(name)) for name, arm in arms.items()}


def numbers(arm: Arm, bare: Arm, every: int | None) -> dict[str, float]:
    """Return what the module's docstring names, each over all rounds."""
    recorded = [took[::every] if every else [] for took in arm.rounds]
    others = [[t for i, t in enumerate(took) if not every or i % every] for took in arm.rounds]
    between = [
        statistics.median(rest) / statistics.median(base) for rest, base in zip(others, bare.rounds, strict=True)
    ]
    beyond = sum(sum(took) - len(took) * statistics.median(rest) for took, rest in zip(recorded, others, strict=True))
    usual = statistics.median(t for took in bare.rounds for t in took)
    return {
        "steps": sum(map(len, arm.rounds)),
        "bare_seconds": usual,
        "ratio": statistics.fmean(map(statistics.fmean, arm.rounds))
        / statistics.fmean(map(statistics.fmean, bare.rounds)),
        "records": beyond / sum(map(sum, arm.rounds)),
        "between": statistics.median(between),
        "longest": max(max(took) for took in arm.rounds) / usual,
        "longest_recorded": max((t for took in recorded for t in took), default=float("nan")) / usual,
    }


def mean(arm: Arm) -> float:
    """Return the mean duration of a step."""
    return statistics.fmean(map(statistics.fmean, arm.rounds))


def main() -> None:
    """Measure, print and keep."""
    sys.path[:0] = [str(Path(__file__).parent), str(TESTS / "gpu")]
    from probe_overhead import describe_machine, one_thread, restart_with_malloc_settings

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="of 100 steps under the default probe")
    parser.add_argument("--steps", type=int, default=30, help="steps a round of every other arm")
    parser.add_argument("--every", type=int, choices=[10], help="also a probe that records at every tenth step")
    parser.add_argument("--result", type=Path, help="JSON file to write the numbers to")
    settings = parser.parse_args()
    restart_with_malloc_settings()
    names = ["bare", "bare again", "default", *(["every 10"] if settings.every else [])]
    with one_thread():
        found = measured(names, rounds=settings.rounds, steps=settings.steps)
        for name, values in found.items():
            print(name, {key: round(value, 4) for key, value in values.items()}, f"bar {BARS.get(name, '-')}")
        if settings.result:
            kept = {"machine": describe_machine(), "longest_bar": LONGEST, "bars": BARS, "arms": found}
            settings.result.write_text(json.dumps(kept, indent=1))


if __name__ == "__main__":
    main()
