"""Two readers beside one live writer: is every read consistent?

The writer records every few milliseconds, flushes often, and now and then closes (which compacts) and resumes. One
reader reads with plain pandas, one with SQL over DuckDB and through ``analysis``, and it draws the run as it
grows. A read is consistent if steps run from 0 without a gap, each (step, layer) comes once, every value is the one
written, and nothing that an earlier read saw is gone.

    python tests/probes/live_readers.py --seconds 600 --result tests/probes/results/live_readers.json
"""

import argparse
import json
import multiprocessing
import platform
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

LAYERS = [f"conv{index}" for index in range(7)]


def write(store: Path, seconds: float) -> None:
    """Record a run for so long."""
    from probes.storage import recorder as recorder_module
    from probes.storage.recorder import Recorder

    recorder_module.FLUSH_SECONDS = 0.3
    began, step, recorder = time.monotonic(), 0, Recorder(store, "live")
    while time.monotonic() - began < seconds:
        rows = [{"step": step, "layer": name, "layer_index": at} for at, name in enumerate(LAYERS)]
        values = [{**row, "layer_type": "Conv2d", "weight_mean": float(step)} for row in rows]
        recorder.write("layers", pa.RecordBatch.from_pylist(values))
        step += 1
        time.sleep(0.005)
        if step % 1000 == 0:
            recorder.close()
            recorder = Recorder(store, "live", resume_step=step)
    recorder.close()


def by_pandas(store: Path) -> pd.DataFrame:
    """Read as a user without meandrift does; list again when a listed part has just been compacted away."""
    return pd.read_parquet(store / "layers", columns=["step", "layer", "weight_mean"])


def by_sql(store: Path) -> pd.DataFrame:
    """Read through DuckDB."""
    from analysis.query import query

    return query(store, "SELECT step, layer, weight_mean FROM layers")


def by_tables(store: Path) -> pd.DataFrame:
    """Read through analysis.reading.tables and draw what was read."""
    import matplotlib.pyplot as plt

    from analysis.reading import tables

    table = tables.layers(store, columns=["weight_mean"])
    axes = table.pivot(index="step", columns="layer", values="weight_mean").plot(legend=False)
    assert len(axes.lines) == len(LAYERS)
    axes.figure.savefig(store / "live.png")
    plt.close(axes.figure)
    return table


def fault_of(table: pd.DataFrame, *, at_least: int) -> str:
    """Say what is inconsistent about a read; an empty text if nothing is."""
    steps = table["step"].to_numpy()
    if table.duplicated(["step", "layer"]).any():
        return "doubled"
    if len(table) != len(LAYERS) * (steps.max(initial=-1) + 1):
        return "gap"
    if not np.array_equal(table["weight_mean"].to_numpy(), steps.astype(np.float32)):
        return "wrong value"
    return "rows gone" if len(table) < at_least else ""


def read(store: Path, ways: list, seconds: float, counts: "multiprocessing.Queue") -> None:
    """Read in turn in each way for so long; put the counts of reads, repeated listings and faults."""
    found: Counter = Counter()
    try:
        read_on(store, ways, seconds, found)
    except Exception as error:
        found[f"crashed: {error!r}"] += 1
    counts.put(dict(found))


def read_on(store: Path, ways: list, seconds: float, found: Counter) -> None:
    """Count reads, repeated listings and faults."""
    began, seen = time.monotonic(), 0
    while time.monotonic() - began < seconds:
        way = ways[found["reads"] % len(ways)]
        try:
            table = way(store)
        except FileNotFoundError:
            found["listed again"] += 1
            continue
        found["reads"] += 1
        fault = fault_of(table, at_least=seen)
        found[fault or "consistent"] += 1
        seen = max(seen, len(table))
        time.sleep(0.05)
    found["rows at the end"] = seen


def watch(store: Path, *, seconds: float) -> dict[str, object]:
    """Run one writer and two readers and return what the readers found."""
    spawn = multiprocessing.get_context("spawn")
    counts = spawn.Queue()
    writer = spawn.Process(target=write, args=(store, seconds))
    writer.start()
    while not list(store.glob("layers/run=live/*.parquet")):
        time.sleep(0.05)
    readers = [
        spawn.Process(target=read, args=(store, ways, seconds, counts)) for ways in ([by_pandas], [by_sql, by_tables])
    ]
    for reader in readers:
        reader.start()
    found = [counts.get(timeout=seconds + 120) for _ in readers]
    for process in (*readers, writer):
        process.join()
    return {
        "seconds": seconds,
        "readers": found,
        "exit_codes": [process.exitcode for process in (*readers, writer)],
        "platform": platform.platform(),
    }


def main() -> None:
    """Parse the command line and print the findings as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--result", type=Path, help="write the JSON here too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = json.dumps(watch(Path(folder), seconds=arguments.seconds), indent=1)
    if arguments.result:
        arguments.result.write_text(report + "\n")
    print(report)


if __name__ == "__main__":
    main()
