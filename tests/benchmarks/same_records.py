"""Do two commits record the same? Trains probed networks under each and compares all tables, bit for bit.

Columns that only one of them has are named, and are no difference.

git worktree add ../other COMMIT
python tests/benchmarks/same_records.py ../other .
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

TRAIN = """
import sys
import torch
from torch.nn import functional as F
from dynamics.models import build
from probes import Probe
from probes.metrics import METRICS

torch.set_num_threads(1)
NETWORKS = {
    "cnn3": ({"image_size": 28}, (1, 28, 28)),
    "vgg7": ({"in_channels": 3, "image_size": 32}, (3, 32, 32)),
    "densenet_bc": ({"in_channels": 3, "depth": 40, "image_size": 32}, (3, 32, 32)),
}
for model_name in sys.argv[2:]:
    settings, shape = NETWORKS[model_name]
    for norm in ("none", "bn", "sn", "msn"):
        for every, schedule in (("all", dict.fromkeys(METRICS, 1)), ("two", 2)):
            torch.manual_seed(3)
            model = build(model_name, norm, **settings)
            optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
            run = f"{model_name}-{norm}-{every}"
            with Probe(model, optimizer, store=sys.argv[1], run=run, every=schedule, strict=True) as probe:
                for _ in range(4):
                    optimizer.zero_grad()
                    for _ in range(2):
                        loss = F.cross_entropy(model(torch.randn(8, *shape)), torch.randint(10, (8,)))
                        loss.backward()
                    optimizer.step()
                    probe.log(loss=loss)
"""
NETWORKS = ["cnn3", "vgg7", "densenet_bc"]
TABLES = ("layers", "histograms", "spectra", "steps")
CLOCKS = ["seconds"]  # columns that no two trainings share


def record(root: Path, store: Path, networks: list[str]) -> None:
    """Train under the packages of one folder."""
    environment = {**os.environ, "PYTHONPATH": str(root.resolve())}
    subprocess.run([sys.executable, "-c", TRAIN, str(store), *networks], check=True, env=environment, cwd=store.parent)


def differences(first: Path, second: Path) -> list[str]:
    """Return a line for each table and shared column that differs, with the largest relative difference."""
    found = []
    for table in TABLES:
        one, other = (_sorted(pd.read_parquet(store / table)) for store in (first, second))
        if len(one) != len(other):
            found.append(f"{table}: {len(one)} rows, {len(other)} rows")
            continue
        if apart := sorted(one.columns.symmetric_difference(other.columns)):
            print(f"{table}: only one has {', '.join(apart)}")
        found += [
            f"{table}.{column}: {_largest(one[column], other[column])}"
            for column in one.columns.intersection(other.columns).difference(CLOCKS)
            if not one[column].map(_exact).equals(other[column].map(_exact))
        ]
    return found


def _sorted(table: pd.DataFrame) -> pd.DataFrame:
    keys = [name for name in ("run", "step", "layer_index", "tensor", "view", "split") if name in table]
    return table.sort_values(keys, kind="stable").reset_index(drop=True)[sorted(table.columns)]


def _exact(cell: object) -> object:
    return tuple(cell.tolist()) if isinstance(cell, np.ndarray) else cell


def _largest(one: pd.Series, other: pd.Series) -> str:
    if not pd.api.types.is_numeric_dtype(one):
        return "differs"
    difference = (one.astype(float) - other.astype(float)).abs() / one.astype(float).abs().clip(lower=1e-30)
    return f"{difference.gt(0).sum()} of {len(one)} values, by {difference.max():.1e} at most"


def main() -> None:
    """Compare two folders and end with status 1 if they differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("--networks", nargs="+", default=NETWORKS, choices=NETWORKS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        stores = [Path(folder) / "first" / "runs", Path(folder) / "second" / "runs"]
        for root, store in zip((arguments.first, arguments.second), stores, strict=True):
            store.parent.mkdir()
            record(root, store, arguments.networks)
        found = differences(*stores)
        rows = {table: len(pd.read_parquet(stores[0] / table)) for table in TABLES}
    print("\n".join(found) or f"equal: {', '.join(f'{count} rows of {table}' for table, count in rows.items())}")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
