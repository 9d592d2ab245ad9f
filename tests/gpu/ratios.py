"""Time and memory of a training step under the probe over the bare step, eager, with Adam.

    python tests/gpu/ratios.py --device cuda

The trainings are those of ``networks.py``: ResNet-18 on images of 224 x 224, where the GPU is busy, and of 32 x 32,
where launching its kernels takes longer than they do; ResNet-50 and GPT-2 in bfloat16. Every arm is a training of its
own in one process; arms take turns in blocks of ten steps, in random order, as long as the time box allows. A block is
timed by the host's clock between two synchronisations. `ratio` is the median over rounds of an arm's block over the
bare block of the same round, the writing of its last records included, for which no training would wait; without that
it is `ratio_without_flush`. `ratio_of_sums` is all blocks over all bare blocks: the one to read for the default
schedule, which records in every tenth block. `bare again` is the control. The first second of a run, in which each
record is written at once, is over before anything is timed.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from networks import TINY, TRAININGS, Training
from part import Part, recorded
from torch.nn import functional as F

from probes import Probe

ARMS: dict[str, dict[str, Any] | None] = {
    "bare": None,
    "bare again": None,
    "default": {},
    "every 10": {"every": 10},
    "weights+gradients": {"every": 1, "metrics": ["weights", "gradients"]},
    "+activations": {"every": 1, "metrics": ["weights", "gradients", "activations"]},
    "+singular values": {"every": 1, "metrics": ["weights", "gradients", "activations", "singular_values"]},
}
STEPS, TINY_STEPS = 10, 1  # a block: one record of `every 10`
ROUNDS, LEAST, TINY_ROUNDS = 60, 3, 2
RESERVE = 20.0  # seconds of the time box for closing stores
FIRST = 1.5  # seconds of a run that are not timed


class Arm:
    """A training of its own, and the probe that watches it."""

    def __init__(self, name: str, training: Training, store: Path, *, device: torch.device) -> None:
        self._training, self._device, self._store = training, device, store
        self._model = training.build(device)
        self._optimizer = torch.optim.Adam(self._model.parameters(), lr=1e-4)
        self._batches = training.batches(device)
        self._steps = 0
        settings = ARMS[name]
        self._probe = None
        if settings is not None:
            self._probe = Probe(self._model, self._optimizer, store=store, run="arm", **settings)

    def block(self, steps: int) -> tuple[float, float]:
        """Make steps; return the seconds they took, and those with the writing of what was recorded."""
        self._wait()
        began = time.perf_counter()
        for _ in range(steps):
            self._steps += 1
            given, wanted = next(self._batches)
            with self._training.precision(self._device):
                loss = F.cross_entropy(self._model(given), wanted)
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()
        self._wait()
        trained = time.perf_counter() - began
        if self._probe is not None:
            self._probe._run._writer.flush()
        return trained, time.perf_counter() - began

    def stop(self) -> None:
        """End the run."""
        if self._probe is not None:
            self._probe.close()

    def close(self) -> dict[str, Any]:
        """End the run; return what it recorded."""
        self.stop()
        return {} if self._probe is None else {"steps": self._steps, **recorded(self._store)}

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def time_arms(arms: dict[str, Arm], *, steps: int, rounds: int, until: float) -> Iterator[dict[str, Any]]:
    """Yield the figures after each round, of which there are ``LEAST`` even if it is later than ``until``."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in arms}
    for turn in range(rounds):
        if turn >= LEAST and time.monotonic() > until:
            return
        for name in random.Random(turn).sample(list(arms), len(arms)):
            taken[name].append(arms[name].block(steps))
        yield {
            "rounds": turn + 1,
            "steps_a_block": steps,
            "bare_ms": 1e3 * statistics.median(whole for _, whole in taken["bare"]) / steps,
            "arms": {name: figures(blocks, taken["bare"]) for name, blocks in taken.items() if name != "bare"},
        }


def figures(blocks: list[tuple[float, float]], bare: list[tuple[float, float]]) -> dict[str, float]:
    """Return the ratios of an arm's blocks to the bare ones of the same rounds."""
    ratios = sorted(own[1] / other[1] for own, other in zip(blocks, bare, strict=True))
    without = [own[0] / other[0] for own, other in zip(blocks, bare, strict=True)]
    quarter = len(ratios) // 4
    return {
        "ratio": statistics.median(ratios),
        "lower_quartile": ratios[quarter],
        "upper_quartile": ratios[-1 - quarter],
        "ratio_without_flush": statistics.median(without),
        "ratio_of_sums": sum(own for _, own in blocks) / sum(other for _, other in bare),
    }


def begin(name: str, training: Training, store: Path, *, steps: int, device: torch.device) -> tuple[Arm, float | None]:
    """Return an arm that has made its first block, and the peak of GPU memory in that, in MiB; None on a CPU."""
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device) if on_gpu else 0
    arm = Arm(name, training, store, device=device)
    arm.block(steps)
    return arm, (torch.cuda.max_memory_allocated(device) - before) / 2**20 if on_gpu else None


def measure(part: Part, training: Training, *, until: float) -> Iterator[dict[str, Any]]:
    """Yield what is known of one training, more each time."""
    steps, rounds = (TINY_STEPS, TINY_ROUNDS) if part.tiny else (STEPS, ROUNDS)
    about: dict[str, Any] = {"training": training.about}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        arms, peaks = {}, {}
        for name in ("bare", *ARMS):  # the very first arm takes what libraries keep for good, and is made once more
            arms[name], peaks[name] = begin(name, training, Path(folder, name), steps=steps, device=part.device)
            stack.callback(arms[name].stop)
        about["peak_mib"] = peaks
        yield about
        time.sleep(0.0 if part.tiny else FIRST)
        found: dict[str, Any] = {}
        for found in time_arms(arms, steps=steps, rounds=rounds, until=until):
            yield about | found
        for name, arm in arms.items():
            if name in found["arms"]:
                found["arms"][name] |= arm.close()
        yield about | found


def complaints(training: str, found: dict[str, Any]) -> Iterator[str]:
    """Yield what makes a ratio worthless: a probe that recorded nothing is cheap."""
    for name, arm in found["arms"].items():
        lost = [gap for gap in arm.get("gaps", ()) if "count" in gap]
        if ARMS[name] is not None and (lost or not arm["recorded_steps"]):
            yield f"{training}, {name}: {arm['recorded_steps']} steps recorded, lost: {lost[:1]}"


def headline(training: str, found: dict[str, Any]) -> str:
    """Return the ratios in a line."""
    key = {"default": "ratio_of_sums"}
    ratios = [f"{name} {arm[key.get(name, 'ratio')]:.3f}" for name, arm in found["arms"].items()]
    return f"{training}: bare {found['bare_ms']:.1f} ms, " + ", ".join(ratios)


def main() -> int:
    """Measure every training, each with its share of the time."""
    part = Part(__doc__)
    trainings = TINY if part.tiny else TRAININGS
    began, share = time.monotonic(), (part.left - RESERVE) / len(trainings)
    failures, headlines = [], []
    for place, (name, training) in enumerate(trainings.items(), start=1):
        found: dict[str, Any] = {}
        try:
            for found in measure(part, training, until=began + place * share):
                part.keep(**{name: found})
            failures += complaints(name, found)
            headlines.append(headline(name, found))
        except Exception as error:  # the others go on
            failures.append(f"{name}: {type(error).__name__}: {error}"[:2000])
    return part.end(failures, headline="; ".join(headlines))


if __name__ == "__main__":
    sys.exit(main())
