"""Benchmark the norms: whole training steps (forward, backward, Adam), all norms in turn in one process.

    python tests/benchmarks/norm_speed.py
    python tests/benchmarks/norm_speed.py --models cnn3 --norms bn,sn,msn --rounds 10
    python tests/benchmarks/norm_speed.py --device cuda --compile --json cuda-compiled.json

Every norm has the same network, activation, batch and optimizer; only the norm differs. A round visits the norms in
a random order and makes a few steps of each, so that a slow minute hurts all alike. The table gives medians over all
rounds and their ratios to batch norm and to no norm at all; ``again`` is a second network without a norm, and how far
it is from 1.00 is what a ratio here is worth. ``cpu`` is the same ratio in time that this thread had the processor,
which a busy neighbour disturbs less. On CPU it runs single-threaded.

Two definitions stand beside ours: ``sn_torch``, torch's own spectral norm on the same layers, and ``msn_naive``, that
and ``h - h.mean + m`` behind every layer.
"""

import argparse
import json
import os
import platform
import random
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from dynamics.models import MODELS, build
from dynamics.norms import NORMS, Norm
from dynamics.runtime.allocator import keep_freed_memory

BATCH = {"cnn3": 64, "vgg7": 64, "densenet_bc": 16}
SHAPE = {"cnn3": (1, 28), "vgg7": (3, 32), "densenet_bc": (3, 32)}
VARIANTS = ("none", "again", "bn", "sn", "msn", "sn_torch", "msn_naive")


class NaiveCentring(nn.Module):
    """Eq. 7 as a few lines of torch, the way one would first write it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.m = nn.Parameter(torch.zeros(channels, 1, 1))
        self.register_buffer("running_mean", torch.zeros(channels, 1, 1))

    def forward(self, h: Tensor) -> Tensor:
        mean = h.mean((0, 2, 3), keepdim=True)[0]
        with torch.no_grad():
            self.running_mean.lerp_(mean, 0.1)
        return h - mean + self.m


PEERS = {
    "again": NORMS["none"],
    "sn_torch": Norm("sn_torch", source="torch", weight=parametrizations.spectral_norm),
    "msn_naive": Norm(
        "msn_naive",
        source="torch",
        weight=parametrizations.spectral_norm,
        module=lambda channels, _dimensions: NaiveCentring(channels),
        once=True,
    ),
}


@dataclass
class Contestant:
    """A network that trains on one batch, and what its steps took.

    Attributes:
        step: Makes one training step and waits for it.
        wall: Seconds a step.
        cpu: Seconds of processor time a step.
        faults: Pages of memory the system had to find a step.
    """

    step: Callable[[], None]
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    faults: list[int] = field(default_factory=list)

    def run(self, steps: int) -> None:
        """Make and time some steps."""
        for _ in range(steps):
            faults, cpu, wall = _page_faults(), time.thread_time(), time.perf_counter()
            self.step()
            self.wall.append(time.perf_counter() - wall)
            self.cpu.append(time.thread_time() - cpu)
            self.faults.append(_page_faults() - faults)


def _page_faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def network(model: str, norm: str, *, memory_format: torch.memory_format) -> nn.Module:
    """Return the network; the weights are the same for every norm."""
    torch.manual_seed(0)
    channels, size = SHAPE[model]
    if norm in NORMS:
        net = build(model, norm, in_channels=channels, image_size=size)
    else:
        net = MODELS[model](PEERS[norm], in_channels=channels, image_size=size)
    return net.to(memory_format=memory_format)


def contestant(model: str, norm: str, arguments: argparse.Namespace) -> Contestant:
    """Return a network on its device, with Adam and a fixed batch."""
    device = torch.device(arguments.device)
    net = network(model, norm, memory_format=getattr(torch, arguments.memory_format)).to(device)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    channels, size = SHAPE[model]
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(BATCH[model], channels, size, size, generator=generator).to(device)
    labels = torch.randint(10, (BATCH[model],), generator=generator).to(device)
    forward = torch.compile(net) if arguments.compile else net

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=arguments.bfloat16):
            loss = nn.functional.cross_entropy(forward(images), labels)
        loss.backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return Contestant(step)


def compare(model: str, arguments: argparse.Namespace) -> dict[str, Contestant]:
    """Return every norm's contestant after its rounds."""
    contestants = {norm: contestant(model, norm, arguments) for norm in arguments.norms}
    order = list(contestants)
    for contender in contestants.values():
        contender.run(3)
    for contender in contestants.values():
        contender.wall.clear(), contender.cpu.clear(), contender.faults.clear()
    for _ in range(arguments.rounds):
        random.shuffle(order)
        for norm in order:
            contestants[norm].run(arguments.steps)
    return contestants


def summarise(contestants: dict[str, Contestant]) -> dict[str, dict[str, float]]:
    """Return medians and ratios of every norm."""
    rows = {}
    for norm, contender in contestants.items():
        row = {"ms": 1e3 * statistics.median(contender.wall), "faults": statistics.median(contender.faults)}
        for reference in ("bn", "none"):
            if reference in contestants:
                other = contestants[reference]
                row[f"of_{reference}"] = statistics.median(contender.wall) / statistics.median(other.wall)
                row[f"cpu_of_{reference}"] = statistics.median(contender.cpu) / statistics.median(other.cpu)
        rows[norm] = row
    return rows


def show(model: str, rows: dict[str, dict[str, float]]) -> None:
    """Print one model's table."""
    print(f"\n{model}, batch {BATCH[model]}")
    print(f"{'norm':10s} {'ms':>8s} {'of bn':>7s} {'cpu':>7s} {'of none':>8s} {'cpu':>7s} {'faults':>8s}")
    for norm, row in rows.items():
        cells = [row.get(key, float("nan")) for key in ("of_bn", "cpu_of_bn", "of_none", "cpu_of_none")]
        print(
            f"{norm:10s} {row['ms']:8.2f} {cells[0]:7.3f} {cells[1]:7.3f} {cells[2]:8.3f} {cells[3]:7.3f}"
            f" {row['faults']:8.0f}"
        )


def machine(arguments: argparse.Namespace) -> dict[str, Any]:
    """Describe what the numbers were taken on."""
    cpu = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), cpu)
    gpu = torch.cuda.get_device_name() if arguments.device.startswith("cuda") else None
    tuned = {key: value for key, value in os.environ.items() if key.startswith("MALLOC_") or key == "LD_PRELOAD"}
    return {
        "cpu": cpu,
        "gpu": gpu,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "allocator": "kept" if arguments.keep_memory else tuned or "default",
        "load": os.getloadavg()[0],
        "memory_format": arguments.memory_format,
        "compiled": arguments.compile,
    }


def names(known: tuple[str, ...]) -> Callable[[str], list[str]]:
    """Return a reader of comma-separated names."""

    def read(text: str) -> list[str]:
        chosen = text.split(",")
        unknown = [name for name in chosen if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"no {', '.join(unknown)}; expected some of {', '.join(known)}")
        return chosen

    return read


def main() -> None:
    """Run the benchmark as the command line asks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=names(tuple(BATCH)), default=list(BATCH), help="comma-separated")
    parser.add_argument("--norms", type=names((*NORMS, *PEERS)), default=list(VARIANTS), help="comma-separated")
    parser.add_argument("--rounds", type=int, default=30, help="visits to every norm (DenseNet: a third)")
    parser.add_argument("--steps", type=int, default=3, help="training steps a visit")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true", help="through torch.compile")
    parser.add_argument("--bfloat16", action="store_true", help="under autocast")
    parser.add_argument("--memory-format", choices=["channels_last", "contiguous_format"], default="channels_last")
    parser.add_argument("--keep-memory", action="store_true", help="malloc as `meandrift train` sets it on glibc")
    parser.add_argument("--json", type=Path, help="write the result here, too")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.keep_memory and not keep_freed_memory():
        parser.error("--keep-memory: this C library has no mallopt")
    rounds = arguments.rounds
    result: dict[str, Any] = {"machine": machine(arguments), "models": {}}
    print(" ".join(f"{key}={value}" for key, value in result["machine"].items()))
    for model in arguments.models:
        arguments.rounds = max(1, rounds // 3) if model == "densenet_bc" else rounds
        rows = summarise(compare(model, arguments))
        result["models"][model] = rows
        show(model, rows)
    line = json.dumps(result)
    print("\n" + line)
    if arguments.json:
        arguments.json.write_text(line + "\n")


if __name__ == "__main__":
    sys.exit(main())
