"""Benchmark training: samples a second under probes, the loader, memory, and a sweep on several processes.

    python tests/benchmarks/training.py steps --model cnn3 --norm msn
    python tests/benchmarks/training.py loader --images 5000
    python tests/benchmarks/training.py allocator --model vgg7
    python tests/benchmarks/training.py memory --model cnn3
    python tests/benchmarks/training.py sweep --workers 2

Every figure is a ratio of arms that take turns on the same machine: medians over rounds, with an A/A control where arms
share a process. Each command prints a table and a JSON line.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

Arm = Callable[[], float]


def take_turns(arms: dict[str, Arm], *, rounds: int) -> dict[str, list[float]]:
    """Call each arm in turn, the first again last, and return the seconds of each round."""
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for arm in arms.values():
        arm()  # warm
    for number in range(rounds):
        names = list(arms)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            seconds[name].append(arms[name]())
    return seconds


def report(title: str, seconds: dict[str, list[float]], *, samples: int) -> None:
    """Print each arm's samples a second and its time over the first arm's of the same round."""
    first = next(iter(seconds.values()))
    rows = {}
    print(title)
    for name, times in seconds.items():
        ratio = statistics.median(own / base for own, base in zip(times, first, strict=True))
        rate = samples / statistics.median(times)
        rows[name] = {"samples_a_second": round(rate, 1), "ratio": round(ratio, 3)}
        print(f"  {name:24} {rate:10,.0f} samples/s   {ratio:6.3f} of the first arm's time")
    print(json.dumps({"benchmark": title, "arms": rows, "machine": platform.platform()}))


def data_of(model: str, *, images: int) -> Any:
    """Return random images of the size that a model takes: the numbers do not matter here."""
    import torch

    from dynamics.data.images import DataSet, Images

    size, channels = (28, 1) if model == "cnn3" else (32, 3)
    generator = torch.Generator().manual_seed(0)
    made = Images(
        torch.randint(0, 256, (images, channels, size, size), dtype=torch.uint8, generator=generator),
        torch.randint(0, 10, (images,), generator=generator),
    )
    return DataSet("random", made, made, num_classes=10, mean=(0.5,) * channels, std=(0.25,) * channels)


def training_arm(
    arguments: argparse.Namespace, *, probing: dict[str, Any] | None, folder: Path, stack: ExitStack
) -> Arm:
    """Return a function that trains some steps and returns the seconds they took."""
    from dynamics.classifier.config import RunConfig
    from dynamics.classifier.setup import assemble
    from dynamics.classifier.training import train
    from probes import Probe

    config = RunConfig(model=arguments.model, norm=arguments.norm, batch_size=arguments.batch_size, epochs=10**6)
    setup = assemble(config, data_of(arguments.model, images=arguments.batch_size * arguments.steps))
    probe = None
    if probing is not None:
        probe = stack.enter_context(Probe(setup.model, setup.optimizer, store=folder, run="bench", **probing))
    steps = train(setup.model, setup.optimizer, setup.batches, epochs=config.epochs, probe=probe)

    def some_steps() -> float:
        began = time.perf_counter()
        for _ in islice(steps, arguments.steps):
            pass
        return time.perf_counter() - began

    return some_steps


def steps(arguments: argparse.Namespace) -> None:
    """Train with and without probes."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        probings: dict[str, dict[str, Any] | None] = {
            "no probe": None,
            "no probe again": None,
            "probe, default": {},
            "probe, every 10": {"every": 10},
            "probe, every step": {"every": 1},
        }
        arms = {
            name: training_arm(arguments, probing=probing, folder=Path(folder) / str(number), stack=stack)
            for number, (name, probing) in enumerate(probings.items())
        }
        seconds = take_turns(arms, rounds=arguments.rounds)
    title = f"steps: {arguments.model} {arguments.norm}, batch {arguments.batch_size}"
    report(title, seconds, samples=arguments.steps * arguments.batch_size)


def loader(arguments: argparse.Namespace) -> None:
    """Cut and augment one epoch of batches: ours against a DataLoader with torchvision's transforms."""
    import torch
    from torch.utils.data import DataLoader, Dataset
    from torchvision.transforms import v2

    from dynamics.data.batches import TrainingBatches

    torch.set_num_threads(1)
    data = data_of("vgg7", images=arguments.images)

    class Plain(Dataset[Any]):
        def __init__(self) -> None:
            mean, std = list(data.mean), list(data.std)
            self.transform = v2.Compose(
                [
                    v2.RandomCrop(32, padding=4),
                    v2.RandomHorizontalFlip(),
                    v2.ToDtype(torch.float32, scale=True),
                    v2.Normalize(mean, std),
                ]
            )

        def __len__(self) -> int:
            return len(data.train)

        def __getitem__(self, index: int) -> Any:
            return self.transform(data.train.pixels[index]), data.train.labels[index]

    def ours() -> TrainingBatches:
        return TrainingBatches(
            data.train, mean=data.mean, std=data.std, batch_size=arguments.batch_size, augmentation="crop-flip"
        )

    made = ours()

    def timed(batches: Callable[[], Any]) -> Arm:
        def epoch() -> float:
            began = time.perf_counter()
            for images, _ in batches():
                assert images.shape == (arguments.batch_size, 3, 32, 32)
            return time.perf_counter() - began

        return epoch

    def plain(workers: int) -> Callable[[], Any]:
        return lambda: DataLoader(
            Plain(), batch_size=arguments.batch_size, shuffle=True, drop_last=True, num_workers=workers
        )

    arms = {
        "ours": timed(lambda: made.epoch(0)),
        "ours again": timed(lambda: made.epoch(0)),
        "DataLoader": timed(plain(0)),
        f"DataLoader, {arguments.workers} workers": timed(plain(arguments.workers)),
    }
    title = f"loader: crop and flip of 32x32 colour images, batch {arguments.batch_size}"
    report(title, take_turns(arms, rounds=arguments.rounds), samples=len(made) * arguments.batch_size)


def in_process(arguments: argparse.Namespace, *, probing: str, keeping: bool) -> tuple[float, int]:
    """Train in a process of its own; return the median seconds of a round and the peak resident bytes."""
    command = [sys.executable, __file__, "one", "--model", arguments.model, "--norm", arguments.norm]
    command += ["--batch-size", str(arguments.batch_size), "--steps", str(arguments.steps)]
    command += ["--rounds", str(arguments.rounds), "--probing", probing, *(["--keeping"] if keeping else [])]
    result = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
    return result["seconds"], result["peak_bytes"]


def one(arguments: argparse.Namespace) -> None:
    """Train in this process alone and print what it took."""
    from dynamics.runtime.allocator import keep_freed_memory

    if arguments.keeping:
        keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        arm = training_arm(arguments, probing=json.loads(arguments.probing), folder=Path(folder), stack=stack)
        seconds = take_turns({"one": arm}, rounds=arguments.rounds)["one"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": statistics.median(seconds), "peak_bytes": peak}))


def allocator(arguments: argparse.Namespace) -> None:
    """Train with glibc's default and with freed memory kept, a process each, in turn."""
    arms = {
        "default": lambda: in_process(arguments, probing="null", keeping=False)[0],
        "default again": lambda: in_process(arguments, probing="null", keeping=False)[0],
        "kept": lambda: in_process(arguments, probing="null", keeping=True)[0],
    }
    seconds = {name: [arm() for _ in range(arguments.processes)] for name, arm in arms.items()}
    title = f"allocator: {arguments.model} {arguments.norm}, batch {arguments.batch_size}"
    report(title, seconds, samples=arguments.steps * arguments.batch_size)


def memory(arguments: argparse.Namespace) -> None:
    """Compare the peak resident memory of a bare and a probed training, a process each."""
    arms = {"no probe": "null", "no probe again": "null", "probe, default": "{}", "probe, every step": '{"every": 1}'}
    peaks = {name: in_process(arguments, probing=probing, keeping=False)[1] for name, probing in arms.items()}
    base = peaks["no probe"]
    print(f"memory: {arguments.model} {arguments.norm}, batch {arguments.batch_size}")
    for name, peak in peaks.items():
        print(f"  {name:24} {peak / 2**20:8.0f} MiB   {(peak - base) / 2**20:+7.0f} MiB")
    print(json.dumps({"benchmark": "memory", "model": arguments.model, "peak_bytes": peaks}))


def sweep(arguments: argparse.Namespace) -> None:
    """Train runs on the shipped digits, with one process at a time and with several."""
    from dynamics.classifier.config import RunConfig
    from dynamics.sweeps.grid import grid
    from dynamics.sweeps.processes import sweep as train_all
    from dynamics.sweeps.task import task_for

    base = RunConfig(model="cnn3", epochs=1, train_images=arguments.images_a_class, every=10)
    configs = grid(base, {"norm": ["bn", "sn", "msn", "none"]})
    count = 10 * arguments.images_a_class // base.batch_size * base.batch_size * len(configs)

    def timed(workers: int) -> Arm:
        def once() -> float:
            with tempfile.TemporaryDirectory() as store:
                tasks = [task_for(store, run, config) for run, config in configs.items()]
                began = time.perf_counter()
                train_all(tasks, store=store, workers=workers)
                return time.perf_counter() - began

        return once

    arms = {
        "one process": timed(1),
        "one process again": timed(1),
        f"{arguments.workers} processes": timed(arguments.workers),
    }
    report(f"sweep: {len(configs)} runs of cnn3", take_turns(arms, rounds=arguments.rounds), samples=count)


def main() -> None:
    """Parse the command line and run one benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for benchmark in (steps, loader, allocator, memory, sweep, one):
        command = commands.add_parser(benchmark.__name__, help=(benchmark.__doc__ or "").splitlines()[0])
        command.set_defaults(benchmark=benchmark)
        command.add_argument("--rounds", type=int, default=2 if benchmark is sweep else 9, help="turns of each arm")
        if benchmark in (steps, allocator, memory, one):
            command.add_argument("--model", default="cnn3")
            command.add_argument("--norm", default="msn")
            command.add_argument("--steps", type=int, default=10, help="steps a turn")
        if benchmark is not sweep:
            command.add_argument("--batch-size", type=int, default=64)
    commands.choices["loader"].add_argument("--images", type=int, default=5000)
    commands.choices["loader"].add_argument("--workers", type=int, default=2, help="of the second DataLoader")
    commands.choices["allocator"].add_argument("--processes", type=int, default=3, help="processes of each arm")
    commands.choices["sweep"].add_argument("--workers", type=int, default=2)
    commands.choices["sweep"].add_argument("--images-a-class", type=int, default=200)
    commands.choices["one"].add_argument("--probing", default="null", help="settings of the probe, JSON; null: none")
    commands.choices["one"].add_argument("--keeping", action="store_true", help="keep freed memory")
    arguments = parser.parse_args()
    arguments.benchmark(arguments)


if __name__ == "__main__":
    main()
