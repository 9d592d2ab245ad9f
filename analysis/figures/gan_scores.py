"""Scores of generated images over training, each under the name of the extractor it was taken with."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.gan_curves import QUANTITY, by_quantity, draw_quantities
from analysis.figures.picture import Picture, Prepared
from probes.schema import STEPS

# Words of a measure, and which way is better; a column is the measure, or `<measure>_<extractor>`.
MEASURES = {
    "fid": "Fréchet distance, lower is better",
    "is": "inception score, higher is better",
    "kid": "kernel distance, lower is better",
}
DEVIATION = "_std"


@dataclass(frozen=True, kw_only=True)
class GanScores(Picture):
    """Frechet distance, inception score and kernel distance over steps; a panel each, a line a norm.

    The first record is the untrained generator. Scores of different extractors are different quantities.
    """

    name = "gan_scores"
    title = "Scores of generated images"
    reads = STEPS
    patterns = tuple(f"{measure}_*" for measure in MEASURES)

    def prepare(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the scores over runs, a row for each quantity, arm and step.

        Raises:
            ValueError: No score was measured in these runs.
        """
        scores = [name for name in map(str, rows.columns) if _is_score(name) and rows[name].notna().any()]
        if not scores:
            raise ValueError("figure 'gan_scores': no score was measured in these runs; train with an extractor")
        parts = [by_quantity(rows[rows[name].notna()], [name]) for name in sorted(scores)]
        return pd.concat(parts, ignore_index=True)

    def draw(self, figure: Figure, prepared: Prepared) -> None:
        """Draw a panel a score."""
        table = prepared.table
        panels = {name: f"{name}\n{MEASURES[name.partition('_')[0]]}" for name in dict.fromkeys(table[QUANTITY])}
        note = "on features of the extractor that the score is named after; draws of equal size"
        draw_quantities(figure, table, panels, title=self.title, note=note)


def _is_score(name: str) -> bool:
    return name.partition("_")[0] in MEASURES and not name.endswith(DEVIATION)
