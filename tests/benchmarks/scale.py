"""Benchmark what reads a store on large ones: CPU seconds, peak memory, and how both grow with the store.

    python tests/benchmarks/scale.py --at /big/disk --result tests/benchmarks/results/scale.json

Each store is made at a quarter, a half and the whole of its size, with parts as a probe writes them; what is there
already is kept. Each command runs in a process of its own. The exponent is that of the growth from the half to the
whole, ``log2((c2 - c0) / (c1 - c0))``, where ``c0`` is what the command costs on a store of one small run: 1 is linear.
It is left out where the command costs little more than that.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

METRICS = ("weight_mean", "weight_var", "spectral_norm", "grad_mean", "grad_l2_norm", "grad_sparsity")
NOISE = 0.5  # CPU seconds above the small store, below which a growth is not told


@dataclass(frozen=True)
class Size:
    """A store: runs, layers of each, records of each, steps between them, and parts of each table of each."""

    runs: int = 1
    layers: int = 4
    records: int = 4
    every: int = 10
    parts: int = 1


SMALL = Size()
STORES = {  # name: what grows, and the whole size
    "300 runs": ("runs", Size(runs=300, layers=8, records=100)),
    "2,000 layers": ("layers", Size(layers=2_000, records=100)),
    "20,000 steps x 500 layers": ("records", Size(layers=500, records=20_000, every=1)),
    "10,000 runs": ("runs", Size(runs=10_000)),
    "100,000 files": ("parts", Size(runs=500, records=400, layers=1, parts=100)),
}
COMMANDS = {
    "runs": "runs {store}",
    "verify": "verify --store {store}",
    "check": "check {store}",
    "watch --once": "watch {store} --once",
    "report": "report {store} -o {out}/report.html",
    "figures": "figures {store} --format png --out {out}/figures",
}


def fractions(grows: str, whole: Size) -> list[Size]:
    """Return the sizes at which a store is measured: a quarter, a half, the whole."""
    return [Size(**{**asdict(whole), grows: max(1, getattr(whole, grows) // part)}) for part in (4, 2, 1)]


def make_store(store: Path, size: Size, *, smaller: Path | None = None) -> None:
    """Make a store; what is there already stays, and runs of a smaller store are linked."""
    from probes import schema
    from probes.arrow_arrays import one_row
    from probes.schema import part_name
    from probes.storage.parts import write_parquet
    from probes.storage.run_row import RUN_FILE, default_versions, described

    versions, began = default_versions(), datetime.now(UTC)
    columns = schema.arrow_schema(schema.RUNS, schema.RUNS_COLUMNS)

    def write(table: str, run: str, name: str, rows: pa.Table) -> None:
        folder = store / table / f"run={run}"
        folder.mkdir(parents=True, exist_ok=True)
        write_parquet(folder / name, [rows], rows.schema)

    for number in range(size.runs):
        run = f"run-{number:05d}"
        if (store / "runs" / f"run={run}").exists():
            continue
        for table in ("layers", "steps", "runs"):
            if smaller is not None and (known := smaller / table / f"run={run}").exists():
                shutil.copytree(known, store / table / f"run={run}", copy_function=os.link)
        if (store / "runs" / f"run={run}").exists():
            continue
        for table in ("layers", "steps"):
            for place, rows in enumerate(rows_of(table, number, size)):
                write(table, run, part_name(place, 1), rows)
        config = {"model": "synthetic", "norm": ("none", "bn", "sn")[number % 3], "seed": number, "learning_rate": 0.1}
        last = (size.records - 1) * size.every
        row = {"status": "finished", "started": began, "last_step": last, "config": config, "versions": versions}
        stamps = {"updated": began, "schema_version": schema.SCHEMA_VERSION}
        write(schema.RUNS, run, RUN_FILE, one_row(described(stamps, row), columns))


def rows_of(table: str, seed: int, size: Size) -> Iterator[pa.Table]:
    """Yield the rows of each part of a run: each column of each layer walks at random."""
    rng = np.random.default_rng(seed)
    names = pa.array([f"block{index}.conv" for index in range(size.layers)])
    for records in np.array_split(np.arange(size.records), min(size.parts, size.records)):
        steps = records * size.every
        if table == "steps":
            loss = 2 / (1 + 0.01 * steps) + rng.normal(scale=0.01, size=len(steps))
            words = pa.array(["train"] * len(steps)).dictionary_encode()
            yield pa.table({"step": steps, "epoch": (steps // 100).astype(np.int32), "split": words, "loss": loss})
            continue
        index = np.tile(np.arange(size.layers, dtype=np.int32), len(steps))
        walks = 1 + 0.01 * np.cumsum(rng.normal(size=(len(METRICS), len(steps), size.layers)), axis=1)
        kinds = pa.DictionaryArray.from_arrays(np.zeros(len(index), np.int32), pa.array(["Conv2d"]))
        yield pa.table(
            {
                "step": np.repeat(steps, size.layers),
                "layer": pa.DictionaryArray.from_arrays(index, names),
                "layer_index": index.astype(np.int16),
                "layer_type": kinds,
                **{name: walk.astype(np.float32).ravel() for name, walk in zip(METRICS, walks, strict=True)},
            }
        )


def cost(command: str, store: Path, *, patience: float) -> dict[str, float | str]:
    """Run a command and return the CPU seconds and the peak memory of its process."""
    with tempfile.TemporaryDirectory() as out:
        words = command.format(store=store, out=out).split()
        program = "from dynamics.cli import main; main()"
        with (Path(out) / "said.txt").open("w+") as said:
            child = subprocess.Popen([sys.executable, "-c", program, *words], stdout=said, stderr=subprocess.STDOUT)
            began = time.monotonic()
            while (ended := os.wait4(child.pid, os.WNOHANG))[0] == 0:
                time.sleep(0.02)
                if time.monotonic() - began > patience:
                    os.kill(child.pid, signal.SIGKILL)  # Popen.kill would wait for it, and wait4 then finds none
            child.returncode = os.waitstatus_to_exitcode(ended[1])
            said.seek(0)
            text = said.read()
    used = ended[2]
    found: dict[str, float | str] = {
        "cpu_s": round(used.ru_utime + used.ru_stime, 2),
        "peak_mb": round(used.ru_maxrss / 1024),
    }
    if child.returncode not in {0, 1} or "Traceback" in text:
        found["failed"] = f"status {child.returncode}: {(text.strip().splitlines() or ['nothing said'])[-1][:200]}"
    return found


def exponent(costs: list[float], small: float) -> float | None:
    """Return the exponent of growth from the half to the whole, above the cost of a small store."""
    half, whole = (value - small for value in costs[-2:])
    return None if whole < NOISE or half <= 0 else round(math.log2(whole / half), 2)


def measure(name: str, commands: list[str], folder: Path, patience: float) -> dict[str, dict[str, object]]:
    """Measure commands on a store at its three sizes."""
    grows, whole = STORES[name]
    stores = [(folder / "small", SMALL)]
    stores += [(folder / f"{name.replace(' ', '-')}-{getattr(size, grows)}", size) for size in fractions(grows, whole)]
    for place, (store, size) in enumerate(stores):
        make_store(store, size, smaller=stores[place - 1][0] if grows == "runs" and place > 1 else None)
    found: dict[str, dict[str, object]] = {}
    for command in commands:
        costs = [cost(COMMANDS[command], store, patience=patience) for store, _ in stores]
        seconds = [float(one["cpu_s"]) for one in costs]
        found[command] = {
            "small": costs[0],
            "sizes": [getattr(size, grows) for _, size in stores[1:]],
            "costs": costs[1:],
            "exponent": exponent(seconds[1:], seconds[0]),
        }
        print(name, "|", command, "|", json.dumps(found[command]), flush=True)
    return found


def table(report: dict[str, dict[str, dict[str, object]]]) -> str:
    """Return the findings as a Markdown table: CPU seconds, peak memory, exponent of the whole size."""
    commands = [command for command in COMMANDS if any(command in found for found in report.values())]
    lines = [
        "| store | " + " | ".join(f"`{command}`" for command in commands) + " |",
        "|---" * (len(commands) + 1) + "|",
    ]
    for name, found in report.items():
        cells = []
        for command in commands:
            if command not in found:
                cells.append("")
                continue
            costs, grown = found[command]["costs"], found[command]["exponent"]
            assert isinstance(costs, list)
            last = costs[-1]
            told = "" if grown is None else f", {grown}"
            cells.append("failed" if "failed" in last else f"{last['cpu_s']:.1f} s, {last['peak_mb']:,} MB{told}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Parse the command line, measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stores", nargs="*", default=[*STORES], choices=[*STORES])
    parser.add_argument("--commands", nargs="*", default=[*COMMANDS], choices=[*COMMANDS])
    parser.add_argument("--at", type=Path, help="where the stores are made and kept; a temporary folder otherwise")
    parser.add_argument("--shrink", type=int, default=1, help="make everything this many times smaller")
    parser.add_argument("--make", action="store_true", help="only make the stores")
    parser.add_argument("--patience", type=float, default=1800, help="seconds after which a command is ended")
    parser.add_argument("--result", type=Path, help="JSON; findings that are there already are kept or replaced")
    arguments = parser.parse_args()
    for name, (grows, whole) in STORES.items():
        STORES[name] = (grows, Size(**{**asdict(whole), grows: max(4, getattr(whole, grows) // arguments.shrink)}))
    known = json.loads(arguments.result.read_text()) if arguments.result and arguments.result.exists() else {}
    report = {name: found for name, found in known.get("stores", {}).items() if name in STORES}
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.stores:
            commands = [] if arguments.make else arguments.commands
            found = measure(name, commands, arguments.at or Path(folder), arguments.patience)
            report[name] = {**report.get(name, {}), **found}
            text = json.dumps({"platform": platform.platform(), "cpus": os.cpu_count(), "stores": report}, indent=1)
            if arguments.result:
                arguments.result.write_text(text + "\n")
    print(table(report))


if __name__ == "__main__":
    main()
