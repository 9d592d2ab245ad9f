"""Generated images side by side: the same noise through each norm's generator."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from analysis.plotting.figure_spec import FigureSpec, Prepared
from analysis.plotting.page import write_title
from analysis.plotting.panel_grid import panels
from analysis.reading.sample_grids import PATH, sample_grids
from analysis.summaries.comparison_arms import ARM, ARM_ORDER, NORM
from probes.schema import RUN, STEP, STEPS
from probes.schema.printable import one_line

IMAGE_SIZE = 32  # pixels per side of one image; a grid has no gaps between images
MOST_PIXELS = 1 << 24


@dataclass(frozen=True, kw_only=True)
class GanSamples(FigureSpec):
    """Sample grids at the last step of each run, one panel per run; real images are not among them.

    Attributes:
        rows: Rows of images per panel.
        across: Images per row.
    """

    rows: int = 6
    across: int = 8
    name = "gan_samples"
    title = "Generated images"
    reads = STEPS
    of_gans = True

    def prepare(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return one row per run: its arm and the last step recorded, in drawing order."""
        last = rows.groupby([ARM_ORDER, ARM, NORM, RUN], observed=True)[STEP].max().reset_index()
        return last.sort_values([ARM_ORDER, RUN], ignore_index=True)

    def draw(self, figure: Figure, prepared: Prepared) -> None:
        """Draw the latest grid of each run that has a grid.

        Raises:
            ValueError: The store has no grids of these runs.
        """
        table = prepared.table.drop(columns=STEP).merge(_latest(prepared), on=RUN)
        if table.empty:
            raise ValueError(f"figure {self.name!r}: no sample grids of runs {', '.join(prepared.table[RUN])}")
        height = 2.2 * self.rows / self.across + 0.3
        grid = panels(figure, len(table), height=height, sharex=False, sharey=False)
        for axes, row in zip(grid, table.to_dict("records"), strict=True):
            axes.imshow(read_grid(row[PATH], rows=self.rows, columns=self.across), interpolation="nearest")
            axes.set_axis_off()
            axes.set_title(f"{row[ARM]}, {int(row[STEP]):,} steps")
        write_title(figure, self.title, "not chosen: noise fixed by the seed; the same place, the same noise")


def _latest(prepared: Prepared) -> pd.DataFrame:
    grids = sample_grids(prepared.store)
    return grids.loc[grids.groupby(RUN)[STEP].idxmax()]


def read_grid(path: Path, *, rows: int, columns: int) -> np.ndarray:
    """Return the first rows and columns of a grid as RGB, ``(rows * 32, columns * 32, 3)``, floats in 0..1.

    A grid with fewer rows or columns is returned as far as it goes.

    Raises:
        ValueError: The file is no picture, or the picture would fill the memory.
    """
    try:
        with Image.open(path) as grid:
            if grid.width * grid.height > MOST_PIXELS:
                raise ValueError(f"it says it has {grid.width:,} x {grid.height:,} pixels, no grid of ours is so large")
            picture = np.asarray(grid.convert("RGB"), dtype="float32") / 255
    except Exception as error:  # Pillow raises SyntaxError, struct.error, zlib.error and more on broken files
        raise ValueError(f"sample grid {path} cannot be read: {one_line(error)}") from error
    return picture[: rows * IMAGE_SIZE, : columns * IMAGE_SIZE]
