"""Grids of generated images that lie beside a store's tables: ``<store>/samples/run=<id>/step-<step>.png``."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import numpy as np
import pandas as pd

from analysis.tables import StorePath
from probes.schema import RUN, STEP

PATH = "path"
IMAGE_SIZE = 32  # pixels of one image in a grid, which has no gaps


def sample_grids(store: StorePath) -> pd.DataFrame:
    """Return one row a grid: ``run``, ``step``, ``path``; runs and steps ascending.

    Raises:
        ValueError: The store has no grids.
    """
    found = sorted((Path(store) / "samples").glob("run=*/step-*.png"))
    if not found:
        raise ValueError(f"store {str(store)!r} has no sample grids (samples/run=<id>/step-<step>.png)")
    rows = [(path.parent.name.removeprefix("run="), int(path.stem.removeprefix("step-")), path) for path in found]
    return pd.DataFrame(rows, columns=[RUN, STEP, PATH])


def read_grid(path: Path, *, rows: int, columns: int) -> np.ndarray:
    """Return the first rows and columns of a grid as RGB, ``(rows * 32, columns * 32, 3)``, floats in 0..1.

    A grid with fewer is returned whole.
    """
    picture = matplotlib.image.imread(path)
    return picture[: rows * IMAGE_SIZE, : columns * IMAGE_SIZE, :3]
