"""Benchmark the probe: what recording costs in time, bytes and memory.

    python tests/benchmarks/probe_overhead.py time --models cnn3 vgg7 --result overhead.json
    python tests/benchmarks/probe_overhead.py flat --model cnn3 --steps 5000
    python tests/benchmarks/probe_overhead.py memory --models resnet18
    python tests/benchmarks/probe_overhead.py --pin time

``time`` trains equal copies of a model in one process, one copy an arm: bare, bare again (the A/A control), under a
probe that records at every step, under one that records all there is (at every step, the dear metrics at every tenth
or two-hundredth), under one with the default schedule, and under other tools where they are installed.
Arms take turns in blocks of eight steps or more; a block's time includes handing its last records to the store. What
is reported is the median over rounds of an arm's block over the bare arm's block of the same round, and the bytes a
layer and recorded step of the closed store, all tables and the run's row included.
``flat`` compares the first and the last 50 steps of a long probed run, each beside bare steps.
``memory`` compares the peak resident memory of bare and probed trainings, medians over processes of their own.
Training has one thread. Where a further core is idle the probe takes the singular values there; ``--pin`` leaves the
process one core in all.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# glibc gives large blocks back to the kernel and faults them in again at each step; the noise of that is ten times
# what is measured here. The setting must be there when the process starts.
MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": str(8 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(16 << 30),
    "MALLOC_TOP_PAD_": "67108864",
}

ARMS: dict[str, dict[str, Any] | None] = {
    "bare": None,
    "bare again": None,
    "weights+gradients": {"every": 1, "metrics": ["weights", "gradients"]},
    "+activations": {"every": 1, "metrics": ["weights", "gradients", "activations"]},
    "+singular values": {"every": 1, "metrics": ["weights", "gradients", "activations", "singular_values"]},
    "everything": {"every": 1},
    "default": {},
}
BARS = {"weights+gradients": 1.05, "+activations": 1.08, "+singular values": 1.12, "everything": 1.20, "default": 1.01}
BYTES_BAR = 200
# Steps a block. A block ends with a wait for what the writer has in hand, which no training makes: behind every second
# step of a large network it would count.
LEAST = 8


class Arm:
    """One copy of a training and what watches it."""

    def __init__(self, name: str, model: str, folder: Path) -> None:
        import torch
        from probe_models import TRAININGS

        torch.manual_seed(0)
        self.name = name
        self.training = TRAININGS[model]()
        self.probe: Any = None
        self.peer: Any = None
        self.steps = 0
        self.store = folder / f"{model}-{name.replace(' ', '-')}"
        settings = ARMS.get(name)
        if name not in ARMS:
            from probe_peers import PEERS

            self.peer = PEERS[name](self.training, self.store)
        elif settings is not None:
            from probes import Probe

            self.probe = Probe(
                self.training.model, self.training.optimizer, store=self.store, run="bench", strict=True, **settings
            )

    def block(self, steps: int) -> float:
        """Make steps and hand over what was recorded; return the seconds they took."""
        began = time.perf_counter()
        for _ in range(steps):
            loss = self.training.step()
            if self.peer is not None:
                self.peer.step(loss)
        if self.probe is not None:
            self.probe._run._writer.flush()
        took = time.perf_counter() - began
        self.steps += steps
        return took

    def close(self) -> dict[str, Any]:
        """Close the store and return what it takes."""
        if self.peer is not None:
            self.peer.close()
        if self.probe is None:
            return {"bytes_a_step": _size(self.store) / self.steps} if self.store.exists() else {}
        self.probe.close()
        layers, recorded = _layers_and_steps(self.store)
        size = _size(self.store)
        return {
            "layers": layers,
            "recorded_steps": recorded,
            "bytes": size,
            "bytes_a_layer_and_step": size / (layers * recorded),
        }


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _layers_and_steps(store: Path) -> tuple[int, int]:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    rows = pq.read_table(store / "layers", columns=["layer_index", "step"])
    return pc.count_distinct(rows["layer_index"]).as_py(), pc.count_distinct(rows["step"]).as_py()


def bench_time(model: str, arms: list[str], *, rounds: int, seconds: float) -> dict[str, Any]:
    """Time all arms on one model, in turns."""
    with tempfile.TemporaryDirectory() as folder:
        made = {name: Arm(name, model, Path(folder)) for name in arms}
        for arm in made.values():
            arm.block(2)
        steps = max(LEAST, round(seconds / (made["bare"].block(3) / 3)))
        ratios: dict[str, list[float]] = {name: [] for name in arms}
        bare = []
        for turn in range(rounds):
            order = random.Random(turn).sample(arms, len(arms))
            took = {name: made[name].block(steps) for name in order}
            bare.append(took["bare"] / steps)
            for name in arms:
                ratios[name].append(took[name] / took["bare"])
        closed = {name: arm.close() for name, arm in made.items()}
    return {
        "bare_ms": 1e3 * statistics.median(bare),
        "rounds": rounds,
        "steps_a_block": steps,
        "arms": {name: {**_spread(ratios[name]), **_bar(name), **closed[name]} for name in arms if name != "bare"},
    }


def _spread(ratios: list[float]) -> dict[str, float]:
    ordered = sorted(ratios)
    quarter = len(ordered) // 4
    return {
        "ratio": statistics.median(ordered),
        "lower_quartile": ordered[quarter],
        "upper_quartile": ordered[-1 - quarter],
    }


def _bar(name: str) -> dict[str, float]:
    return {"bar": BARS[name]} if name in BARS else {}


def bench_flat(model: str, *, steps: int, edge: int = 50) -> dict[str, Any]:
    """Compare the cost of recording at the beginning and at the end of a long run."""
    with tempfile.TemporaryDirectory() as folder:
        bare, probed = Arm("bare", model, Path(folder)), Arm("+singular values", model, Path(folder))
        for arm in (bare, probed):
            arm.block(5)
        first = _beside(probed, bare, edge)
        probed.block(steps - 2 * edge)
        last = _beside(probed, bare, edge)
        probed.close()
    return {
        "steps": steps,
        "first_ms": 1e3 * first[0],
        "last_ms": 1e3 * last[0],
        "last_over_first": last[0] / first[0],
        "last_over_first_beside_bare": (last[0] / last[1]) / (first[0] / first[1]),
        "bar": 1.1,
    }


def _beside(probed: Arm, bare: Arm, steps: int) -> tuple[float, float]:
    times = [(probed.block(1), bare.block(1)) for _ in range(steps)]
    return statistics.median(t[0] for t in times), statistics.median(t[1] for t in times)


def bench_memory(model: str, *, steps: int, pairs: int) -> dict[str, Any]:
    """Compare peak memory, each arm in processes of its own, in turns: the peak of one moves by tens of MiB."""
    peaks: dict[str, list[dict[str, int]]] = {"bare": [], "+singular values": []}
    plain = {name: value for name, value in os.environ.items() if name not in MALLOC}
    for _ in range(pairs):
        for arm, found in peaks.items():
            command = [sys.executable, __file__, "peak", "--model", model, "--arm", arm, "--steps", str(steps)]
            output = subprocess.run(command, check=True, capture_output=True, text=True, env=plain).stdout
            found.append(json.loads(output))
    mib = {arm: sorted(one["peak"] / 2**20 for one in found) for arm, found in peaks.items()}
    before = statistics.median(one["before"] / 2**20 for one in peaks["bare"])
    training = statistics.median(mib["bare"]) - before
    return {
        "steps": steps,
        "training_mib": training,
        "extra_mib": statistics.median(mib["+singular values"]) - statistics.median(mib["bare"]),
        "bar_mib": 0.02 * training + 64e6 / 2**20,
        "peaks_mib": mib,
    }


def bench_peak(model: str, arm: str, *, steps: int) -> dict[str, Any]:
    """Train in this process and return its memory before and at its peak, in bytes."""
    import torch  # noqa: F401 - not the training's own memory
    from probe_models import TRAININGS  # noqa: F401

    from probes import Probe  # noqa: F401 - code that both arms have loaded

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    with tempfile.TemporaryDirectory() as folder:
        one = Arm(arm, model, Path(folder))
        one.block(steps)
        if one.probe is not None:
            one.probe.close()  # not one.close(), which reads the store as well
    return {"before": before, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10}


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch to one thread."""
    import torch

    torch.set_num_threads(1)
    yield


def restart_with_malloc_settings() -> None:
    """Start this process again with the allocator settings, unless it has them."""
    if any(os.environ.get(name) != value for name, value in MALLOC.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **MALLOC})


def describe_machine() -> dict[str, Any]:
    """Return what the figures were measured on."""
    import torch

    from probes.background.cores import usable_cores

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "threads": torch.get_num_threads(),
        "idle_core": usable_cores() >= 2 * torch.get_num_threads(),  # that nobody else was busy on it is for "load"
    }


def parse() -> argparse.Namespace:
    """Return the command line's settings."""
    from probe_models import TRAININGS
    from probe_peers import PEERS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--result", type=Path, help="JSON file to write the figures to")
    parser.add_argument("--pin", action="store_true", help="keep the process to one core")
    what = parser.add_subparsers(dest="what", required=True)
    timing = what.add_parser("time", help="time of a step over the bare step, and bytes")
    timing.add_argument("--models", nargs="+", default=list(TRAININGS), choices=list(TRAININGS))
    timing.add_argument("--arms", nargs="+", default=[name for name in ARMS if name != "bare"], choices=[*ARMS, *PEERS])
    timing.add_argument("--peers", action="store_true", help="also the other tools that are installed")
    timing.add_argument("--rounds", type=int, default=21)
    timing.add_argument("--seconds", type=float, default=1.0, help="length of a bare block, or 8 steps")
    flat = what.add_parser("flat", help="cost at the beginning and the end of a long run")
    flat.add_argument("--model", default="cnn3", choices=list(TRAININGS))
    flat.add_argument("--steps", type=int, default=5000)
    memory = what.add_parser("memory", help="peak memory beside the bare training")
    memory.add_argument("--models", nargs="+", default=list(TRAININGS), choices=list(TRAININGS))
    memory.add_argument("--steps", type=int, default=12, help="240 shows what a long run takes")
    memory.add_argument("--pairs", type=int, default=5, help="processes an arm")
    peak = what.add_parser("peak", help="peak memory of one training; used by memory")
    peak.add_argument("--model", required=True)
    peak.add_argument("--arm", required=True)
    peak.add_argument("--steps", type=int, required=True)
    return parser.parse_args()


def measure(settings: argparse.Namespace) -> dict[str, Any]:
    """Run what was asked for."""
    if settings.what == "time":
        from probe_peers import installed

        arms = list(dict.fromkeys(["bare", *settings.arms, *(installed() if settings.peers else [])]))
        return {
            model: show(model, bench_time(model, arms, rounds=settings.rounds, seconds=settings.seconds))
            for model in settings.models
        }
    if settings.what == "flat":
        return {settings.model: bench_flat(settings.model, steps=settings.steps)}
    if settings.what == "memory":
        return {model: bench_memory(model, steps=settings.steps, pairs=settings.pairs) for model in settings.models}
    return bench_peak(settings.model, settings.arm, steps=settings.steps)


def show(model: str, found: dict[str, Any]) -> dict[str, Any]:
    """Print a table of one model's arms and return it unchanged."""
    print(f"{model}: bare step {found['bare_ms']:.1f} ms, {found['rounds']} rounds of {found['steps_a_block']} steps")
    for name, arm in found["arms"].items():
        size = arm.get("bytes_a_layer_and_step")
        bytes_text = f"{size:6.0f} bytes a layer and recorded step" if size else ""
        bar = f"(bar {arm['bar']:.2f})" if "bar" in arm else " " * 10
        quartiles = f"[{arm['lower_quartile']:.3f} {arm['upper_quartile']:.3f}]"
        print(f"  {name:20s} {arm['ratio']:.3f} {quartiles} {bar} {bytes_text}", flush=True)
    return found


def main(measured: Callable[[argparse.Namespace], dict[str, Any]] = measure) -> None:
    """Measure, print and keep."""
    sys.path.insert(0, str(Path(__file__).parent))
    settings = parse()
    if settings.pin:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    if settings.what in ("time", "flat"):
        restart_with_malloc_settings()
    with one_thread():
        found = measured(settings)
        if settings.what == "peak":
            print(json.dumps(found))
            return
        if settings.what != "time":
            print(json.dumps(found, indent=1))
        if settings.result:
            settings.result.write_text(json.dumps({"machine": describe_machine(), settings.what: found}, indent=1))


if __name__ == "__main__":
    main()
