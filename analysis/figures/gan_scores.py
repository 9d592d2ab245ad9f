"""Scores of generated images during training, by feature extractor."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.plotting.figure_spec import FigureSpec, Prepared
from analysis.plotting.page import PanelText
from analysis.plotting.panels.gan_curves import QUANTITY, by_quantity, draw_quantities
from analysis.plotting.style import GREY
from analysis.summaries.subsets import was_measured
from analysis.summaries.transforms import MEAN
from probes.schema import SPLIT, STEPS

BETTER = {"fid": "↓", "is": "↑", "kid": "↓"}  # a column is `<measure>_<extractor>`
DEVIATION = "_std"
GENERATED, REAL = "test", "real"


@dataclass(frozen=True, kw_only=True)
class GanScores(FigureSpec):
    """Frechet distance, inception score and kernel distance over steps; one panel each, one line per norm.

    The first record is the untrained generator. Scores of different extractors are different quantities.
    """

    name = "gan_scores"
    title = "Scores of generated images"
    reads = STEPS
    of_gans = True
    patterns = tuple(f"{measure}_*" for measure in BETTER)

    def prepare(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the scores over runs, a row for each quantity, arm and step; ``real`` is the score of real images.

        Raises:
            ValueError: No score of generated images was measured in these runs.
        """
        generated, real = (rows[rows[SPLIT] == split] for split in (GENERATED, REAL))
        scores = [name for name in map(str, rows.columns) if _is_score(name) and was_measured(generated, name).any()]
        if not scores:
            raise ValueError("figure 'gan_scores': no score was measured in these runs; train with an extractor")
        parts = [
            by_quantity(generated[was_measured(generated, name)], [name]).assign(
                **{REAL: real.loc[was_measured(real, name), name].mean(skipna=False)}
            )
            for name in sorted(scores)
        ]
        return pd.concat(parts, ignore_index=True)

    def draw(self, figure: Figure, prepared: Prepared) -> None:
        """Draw one panel per score, with the score of real images."""
        table = prepared.table
        panels = {name: f"{name} {BETTER[name.partition('_')[0]]}" for name in dict.fromkeys(table[QUANTITY])}
        note = "named after the extractor of the features; arrows point to better; grey: real test images"
        grid = draw_quantities(figure, table, panels, PanelText(self.title, note))
        for axes, name in zip(grid, panels, strict=True):
            mine = table[table[QUANTITY] == name]
            _mark_real(axes, mine[MEAN], float(mine[REAL].iloc[0]), log=not name.startswith("is"))


def _mark_real(axes: Axes, generated: pd.Series, real: float, *, log: bool) -> None:
    """Draw the score of real images as a line, or write it where the line would lie far below the curves.

    Distances fall over decades: their scale is logarithmic, unless a distance is not positive.
    """
    log = log and bool((generated > 0).all())
    near = not log or real >= generated.min() / 10
    low, high = (f(generated.min(), generated.max(), *([real] if near else [])) for f in (min, max))
    if log:
        axes.set_yscale("log")
        axes.set_ylim(low / 1.3, high * 1.3)
    elif low < high:
        axes.set_ylim(low - 0.04 * (high - low), high + 0.04 * (high - low))
    if near:
        axes.axhline(real, color=GREY, linewidth=1.0, zorder=1)
    else:
        axes.annotate(
            f"real images: {real:.2g}".replace("-", "−"), (0.03, 0.03), xycoords="axes fraction", color=GREY, fontsize=7
        )


def _is_score(name: str) -> bool:
    return name.partition("_")[0] in BETTER and not name.endswith(DEVIATION)
