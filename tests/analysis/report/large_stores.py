"""Stores of many runs, layers and records, with noise in every number: what compresses worst.

``python tests/analysis/report/large_stores.py FOLDER RUNS LAYERS RECORDS`` writes one.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.report.columns import DEFAULTS
from probes import schema


def write_large_store(store: Path, *, runs: int, layers: int, records: int) -> Path:
    """Write runs of a transformer with the default columns and losses."""
    names = pa.array([f"blocks.{i // 6}.{'attention' if i % 6 < 4 else 'mlp'}.linear{i % 6}" for i in range(layers)])
    for number in range(runs):
        run = f"run-{number:03d}"
        noise = np.random.default_rng(number)
        steps = np.arange(records) * 10
        keys = {
            schema.STEP: np.repeat(steps, layers),
            schema.LAYER: pa.DictionaryArray.from_arrays(np.tile(np.arange(layers, dtype=np.int32), records), names),
            schema.LAYER_INDEX: np.tile(np.arange(layers, dtype=np.int16), records),
            schema.LAYER_TYPE: pa.DictionaryArray.from_arrays(
                np.zeros(records * layers, np.int32), pa.array(["Linear"])
            ),
        }
        values = {column.name: _noisy(noise, records, layers, column.log) for column in DEFAULTS}
        _write(store, schema.LAYERS, run, {**keys, **values})
        loss = 2 * np.exp(-3 * np.arange(records) / records) + 0.1 * noise.random(records)
        logged = {schema.STEP: steps, schema.SPLIT: pa.array(["train"] * records), "loss": loss}
        _write(store, schema.STEPS, run, logged)
        config = {"learning_rate": 10.0 ** -(1 + number % 4), "seed": number, "width": 64 * (1 + number % 2)}
        about = {
            "status": ["finished"],
            "last_step": [int(steps[-1])],
            "config": [json.dumps(config)],
            "device": ["cpu"],
        }
        _write(store, schema.RUNS, run, {**about, "gaps": ["[]"]})
    return store


def _noisy(noise: np.random.Generator, records: int, layers: int, log: bool) -> np.ndarray:
    walk = np.cumsum(noise.normal(0, 0.05, (records, layers)), axis=0) + noise.normal(0, 0.3, (records, layers))
    depth = np.linspace(0, 1, layers)
    return (np.exp(walk - 4 * depth) if log else 0.5 + 0.1 * walk + depth).astype("float32").ravel()


def _write(store: Path, table: str, run: str, columns: dict[str, object]) -> None:
    folder = store / table / schema.run_folder(run)
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), folder / "part-0.parquet")


if __name__ == "__main__":
    folder, *sizes = sys.argv[1:]
    runs, layers, records = map(int, sizes)
    write_large_store(Path(folder), runs=runs, layers=layers, records=records)
