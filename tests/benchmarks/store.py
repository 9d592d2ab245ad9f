"""Benchmark the store: what writing costs, and what a question costs on a store of a hundred million rows.

    python tests/benchmarks/store.py write
    python tests/benchmarks/store.py read --runs 100 --layers 100 --steps 10000 --at /big/disk/store

``write`` records as a probe does, a few rows a call, and reports rows a second, bytes a row, and the latency of a
write and of a flush. ``read`` makes a synthetic store (kept at ``--at``, made once), then asks each engine the same
four questions, each in a process of its own, after a first answer that warms it up: the median time, and the memory
that the process gained over what it had after the same question on a tiny store. It does so for a tenth of the runs
too: what a question costs should grow with its answer, not with the store.
"""

import argparse
import json
import multiprocessing
import os
import platform
import resource
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

METRICS = ("weight_mean", "weight_var", "spectral_norm", "grad_mean", "grad_l2_norm", "grad_sparsity")


def batch(step: int, layers: int, columns: int) -> pa.RecordBatch:
    """Rows of one step, as a probe gives them: words as dictionaries, float32 values."""
    rng = np.random.default_rng(step)
    return pa.RecordBatch.from_pydict(
        {
            "step": pa.array(np.full(layers, step)),
            "layer": pa.array([f"block{index}.conv" for index in range(layers)]).dictionary_encode(),
            "layer_index": pa.array(np.arange(layers, dtype=np.int16)),
            "layer_type": pa.array(["Conv2d"] * layers).dictionary_encode(),
            **{f"metric{index}": pa.array(rng.normal(size=layers).astype(np.float32)) for index in range(columns)},
        }
    )


def bench_write(*, rows_a_call: int, columns: int, calls: int, flush_every: int) -> dict[str, Any]:
    """Time writes and flushes of one run, and how much a busy thread beside them loses."""
    from probes.storage.recorder import Recorder

    batches = [batch(step, rows_a_call, columns) for step in range(calls)]
    writes, flushes = [], []
    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder(folder, "bench")
        recorder.write("layers", batches[0])  # first of its kind: imports, folders, files
        recorder.flush()
        began = time.perf_counter()
        for step in range(1, calls):
            writes.append(timed(lambda step=step: recorder.write("layers", batches[step])))
            if step % flush_every == 0:
                flushes.append(timed(recorder.flush))
        seconds = time.perf_counter() - began
        closing = timed(recorder.close)
        [part] = Path(folder).glob("layers/run=bench/*.parquet")
        size = part.stat().st_size
    return {
        "rows_a_call": rows_a_call,
        "columns": columns,
        "rows_a_second": round((calls - 1) * rows_a_call / seconds),
        "bytes_a_row_compacted": round(size / (calls * rows_a_call), 1),
        "raw_bytes_a_row": 4 * columns,
        "write_us": quantiles(writes, 1e6),
        f"flush_ms_of_{flush_every * rows_a_call}_rows": quantiles(flushes, 1e3),
        "close_with_compaction_ms": round(closing * 1e3, 1),
        "parts_compacted": len(flushes) + 1,
    }


def bench_gil(*, seconds: float) -> dict[str, Any]:
    """Time a loop that holds the GIL, alone and beside a writer of 7 rows every 10 ms; interleaved, with a control."""
    from probes.storage.recorder import Recorder

    def loop() -> float:
        began = time.perf_counter()
        total = 0
        for number in range(100_000):
            total += number
        return time.perf_counter() - began

    alone, control, beside = [], [], []
    with tempfile.TemporaryDirectory() as folder, Recorder(folder, "bench") as recorder:
        rows = [batch(step, 7, 35) for step in range(1000)]
        on, stop = threading.Event(), threading.Event()

        def write() -> None:
            step = 0
            while not stop.is_set():
                on.wait(1)
                if on.is_set():
                    recorder.write("layers", rows[step % 1000])
                    step += 1
                time.sleep(0.01)

        writer = threading.Thread(target=write)
        writer.start()
        began = time.perf_counter()
        while time.perf_counter() - began < seconds:
            for times, writing in ((alone, False), (beside, True), (control, False)):
                on.set() if writing else on.clear()
                time.sleep(0.02)
                times.extend(loop() for _ in range(20))
        stop.set()
        on.set()
        writer.join()
    base = statistics.mean(alone)
    return {
        "beside_writer_over_alone_mean": round(statistics.mean(beside) / base, 4),
        "control_mean": round(statistics.mean(control) / base, 4),
        "median": round(statistics.median(beside) / statistics.median(alone), 4),
        "control_median": round(statistics.median(control) / statistics.median(alone), 4),
    }


def timed(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def quantiles(times: list[float], scale: float) -> dict[str, float]:
    found = np.quantile(times, [0.5, 0.99]) * scale
    return {"p50": round(float(found[0]), 2), "p99": round(float(found[1]), 2)}


def make_store(store: Path, *, runs: int, layers: int, steps: int) -> None:
    """Make a store of compacted runs, each from its own random walk; runs that are there are kept."""
    from probes.schema import part_name
    from probes.storage.files import open_store
    from probes.storage.parts import write_parquet
    from probes.storage.recorder import Recorder

    files = open_store(store)
    for number in range(runs):
        run = f"run-{number:03d}"
        folder = Path(files.folder("layers", run))
        if folder.exists():
            continue
        tables = walk(number, layers, steps)
        write_parquet(store.with_name("unfinished"), tables, tables[0].schema)
        Recorder(store, run, config={"seed": number}).close()
        folder.mkdir(parents=True)
        store.with_name("unfinished").replace(folder / part_name(1, 1))


def walk(seed: int, layers: int, steps: int, chunk: int = 1000) -> list[pa.Table]:
    """Rows of a run in step order: every metric of every layer walks at random."""
    rng = np.random.default_rng(seed)
    names = pa.array([f"block{index}.conv" for index in range(layers)])
    at = np.zeros((len(METRICS), 1, layers))
    tables = []
    for first in range(0, steps, chunk):
        count = min(chunk, steps - first)
        values = at + np.cumsum(rng.normal(scale=0.01, size=(len(METRICS), count, layers)), axis=1)
        at = values[:, -1:]
        index = pa.array(np.tile(np.arange(layers, dtype=np.int32), count))
        tables.append(
            pa.table(
                {
                    "step": np.repeat(np.arange(first, first + count), layers),
                    "layer": pa.DictionaryArray.from_arrays(index, names),
                    "layer_index": index.cast(pa.int16()),
                    **{name: value.astype(np.float32).ravel() for name, value in zip(METRICS, values, strict=True)},
                }
            )
        )
    return tables


def grouped(table: Any) -> Any:
    return table.groupby(["run", "layer"], observed=True)["weight_mean"].mean()


def questions(store: Path, *, layer: str, step: int) -> dict[str, dict[str, Callable[[], Any]]]:
    """The four questions, as each engine puts them. The run and layer are in the middle of the store."""
    import pandas as pd

    run = "run-001"
    where = f"{store}/layers/**/*.parquet"

    def pandas_() -> dict[str, Callable[[], Any]]:
        from analysis.reading import tables

        folder = store / "layers"
        only = [("run", "==", run), ("layer", "==", layer)]
        at = [("step", "==", step)]
        return {
            "open": lambda: tables.fields(store, "layers"),
            "one layer of one run": lambda: pd.read_parquet(folder, filters=only),
            "one metric of all runs at one step": lambda: pd.read_parquet(
                folder, columns=["run", "layer", "weight_mean"], filters=at
            ),
            "group by run and layer": lambda: grouped(pd.read_parquet(folder, columns=["run", "layer", "weight_mean"])),
        }

    def duckdb_() -> dict[str, Callable[[], Any]]:
        from analysis.query import query

        return {
            "open": lambda: query(store, "SELECT * FROM layers LIMIT 0"),
            "one layer of one run": lambda: query(
                store, f"SELECT * FROM layers WHERE run = '{run}' AND layer = '{layer}'"
            ),
            "one metric of all runs at one step": lambda: query(
                store, f"SELECT run, layer, weight_mean FROM layers WHERE step = {step}"
            ),
            "group by run and layer": lambda: query(
                store, "SELECT run, layer, avg(weight_mean) FROM layers GROUP BY run, layer"
            ),
        }

    def polars_() -> dict[str, Callable[[], Any]]:
        import polars as pl

        def rows() -> pl.LazyFrame:
            return pl.scan_parquet(where, hive_partitioning=True)

        return {
            "open": lambda: rows().collect_schema(),
            "one layer of one run": lambda: (
                rows().filter(pl.col("run") == run, pl.col("layer").cast(pl.String) == layer).collect()
            ),
            "one metric of all runs at one step": lambda: (
                rows().filter(pl.col("step") == step).select("run", "layer", "weight_mean").collect()
            ),
            "group by run and layer": lambda: (
                rows().group_by("run", "layer").agg(pl.col("weight_mean").mean()).collect(engine="streaming")
            ),
        }

    def analysis_() -> dict[str, Callable[[], Any]]:
        import analysis

        return {
            "open": lambda: analysis.layers(store, runs=run, steps=(0, 0), columns=[]),
            "one layer of one run": lambda: analysis.layers(store, runs=run, layers=layer),
            "one metric of all runs at one step": lambda: analysis.layers(
                store, columns=["weight_mean"], steps=(step, step)
            ),
            "group by run and layer": lambda: grouped(analysis.layers(store, columns=["weight_mean"])),
        }

    return {"analysis": analysis_(), "pandas": pandas_(), "duckdb": duckdb_(), "polars": polars_()}


def ask(stores: tuple[Path, Path], named: tuple[str, str], rounds: int, scale: dict[str, Any], back: Any) -> None:
    """Ask one question in this process: first of the tiny store, then of the store."""
    (tiny, store), (engine, question) = stores, named
    questions(tiny, **scale)[engine][question]()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    work = questions(store, **scale)[engine][question]
    answer = work()
    times = [timed(work) for _ in range(rounds)]
    gained = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    back.send(
        {"ms": round(statistics.median(times) * 1e3, 1), "gained_mb": round(gained), "answer_mb": size_of(answer)}
    )


def size_of(answer: Any) -> float:
    if hasattr(answer, "memory_usage"):
        used = answer.memory_usage(deep=True)
        return round(float(used.sum() if hasattr(used, "sum") else used) / 1e6, 2)
    return round(answer.estimated_size() / 1e6, 2) if hasattr(answer, "estimated_size") else 0.0


def bench_read(store: Path, *, runs: int, layers: int, steps: int, rounds: int, engines: list[str]) -> dict[str, Any]:
    """Make the store and its tenth, and ask every engine every question of both."""
    store.parent.mkdir(parents=True, exist_ok=True)
    tenth, tiny = store.with_name(store.name + "-tenth"), store.with_name(store.name + "-tiny")
    make_store(tiny, runs=2, layers=2, steps=10)
    make_store(store, runs=runs, layers=layers, steps=steps)
    if not tenth.exists():
        for number in range(max(runs // 10, 2)):
            shutil.copytree(
                store / "layers" / f"run=run-{number:03d}",
                tenth / "layers" / f"run=run-{number:03d}",
                copy_function=os.link,
            )
    scale = {"layer": "block1.conv", "step": steps // 2}
    spawn = multiprocessing.get_context("spawn")
    found: dict[str, Any] = {}
    for engine in engines:
        for question in questions(tiny, layer="", step=0)[engine]:
            answers = {}
            for name, folder in (("tenth", tenth), ("whole", store)):
                here, back = spawn.Pipe(duplex=False)
                child = spawn.Process(target=ask, args=((tiny, folder), (engine, question), rounds, scale, back))
                child.start()
                back.close()
                try:
                    answers[name] = here.recv()
                except EOFError:
                    answers[name] = {"failed": True}
                child.join()
            found[f"{engine}: {question}"] = answers
            print(engine, "|", question, "|", json.dumps(answers), flush=True)
    size = sum(path.stat().st_size for path in store.rglob("*.parquet"))
    return {"rows": runs * layers * steps, "bytes_a_row": round(size / (runs * layers * steps), 1), "asked": found}


def main() -> None:
    """Parse the command line and print the findings as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["write", "read", "both"])
    parser.add_argument("--calls", type=int, default=4000, help="write: number of calls")
    parser.add_argument("--seconds", type=float, default=20.0, help="write: of the loop beside the writer")
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--layers", type=int, default=100)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5, help="read: timed answers a question")
    parser.add_argument("--engines", default="analysis,pandas,duckdb,polars")
    parser.add_argument("--at", type=Path, help="read: where the store is made and kept; a temporary folder otherwise")
    parser.add_argument("--result", type=Path, help="write the JSON here too")
    arguments = parser.parse_args()
    report: dict[str, Any] = {"platform": platform.platform(), "cpus": os.cpu_count()}
    if arguments.what in {"write", "both"}:
        report["write"] = [
            bench_write(rows_a_call=7, columns=35, calls=arguments.calls, flush_every=500),
            bench_write(rows_a_call=100, columns=35, calls=max(arguments.calls // 4, 50), flush_every=50),
            bench_write(rows_a_call=10_000, columns=35, calls=max(arguments.calls // 40, 11), flush_every=10),
        ]
        report["gil"] = bench_gil(seconds=arguments.seconds)
    if arguments.what in {"read", "both"}:
        with tempfile.TemporaryDirectory() as folder:
            report["read"] = bench_read(
                arguments.at or Path(folder) / "store",
                runs=arguments.runs,
                layers=arguments.layers,
                steps=arguments.steps,
                rounds=arguments.rounds,
                engines=arguments.engines.split(","),
            )
    text = json.dumps(report, indent=1)
    if arguments.result:
        arguments.result.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
