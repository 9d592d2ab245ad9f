"""The image grids of a store as a table: ``<store>/samples/run=<id>/step-<step>.png``."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from analysis.reading.files.local_files import regular_files, run_folders
from analysis.reading.store import AnyStore, Store
from probes.schema import RUN, SAMPLES, STEP

PATH = "path"
_GRID = re.compile(r"step-[0-9]{1,18}\.png")


def sample_grids(store: AnyStore) -> pd.DataFrame:
    """Return one row per grid: ``run``, ``step``, ``path``; runs and steps ascending.

    Raises:
        ValueError: The store has no grids, or is not on this machine.
    """
    folder = Store.open(store).folder
    if folder is None:
        raise ValueError(f"store {str(store)!r}: sample grids are read from folders only; copy {SAMPLES}/ here")
    found = run_folders(folder / SAMPLES)
    rows = [(run, _step(path), path) for run in found for path in regular_files(found[run], _GRID.fullmatch)]
    if not rows:
        raise ValueError(f"store {str(store)!r} has no sample grids ({SAMPLES}/run=<id>/step-<step>.png)")
    return pd.DataFrame(rows, columns=[RUN, STEP, PATH]).sort_values([RUN, STEP], ignore_index=True)


def _step(path: Path) -> int:
    return int(path.stem.removeprefix("step-"))
