"""Base of the figures of one column: one panel per norm, one line per layer or third of the depth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pandas as pd
from matplotlib.figure import Figure

from analysis.plotting.column_words import axis_label, mathtext, meaning, sentence, with_smoothing
from analysis.plotting.figure_spec import FigureSpec, Prepared
from analysis.plotting.page import PanelText
from analysis.plotting.panels.by_norm import draw_by_norm
from analysis.summaries.layer_choice import weight_layers
from analysis.summaries.transforms import MEAN, NAN_RUNS, RAW, over_runs, running_median, smoothed
from probes.schema import LAYER, LAYER_INDEX, RUN

MOST_IN_MEDIAN = 9  # records


@dataclass(frozen=True, kw_only=True)
class LayerLines(FigureSpec):
    """One column of each layer; one panel per norm, coloured by depth.

    Attributes:
        smooth: Number of records in the trailing mean; 1 smooths nothing.
        log: Whether the column spans decades.
        cut: Whether a few outliers may lie outside the panel, marked at its edge.
        level: Value of the line of reference, or None.
        level_note: Meaning of the line of reference.
        own_layers: Whether each arm has layers of its own; the lines are then named by depth.
    """

    smooth: int = 1
    log: ClassVar[bool] = False
    cut: ClassVar[bool] = True
    level: ClassVar[float | None] = None
    level_note: ClassVar[str] = ""
    own_layers: ClassVar[bool] = False

    def choose_layers(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of the layers to show: those with a weight matrix."""
        return weight_layers(rows, self.layers)

    def prepare(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the column over runs, a row for each arm, layer and step."""
        (column,) = self.needed()
        return over_runs(smoothed(self.choose_layers(rows), column, window=self.smooth), column=column)

    def note(self, words: str, table: pd.DataFrame) -> str:
        """Return a description of the lines, in words."""
        del table
        return with_smoothing(f"{sentence(words)}{self.level_note}", self.smooth)

    def draw(self, figure: Figure, prepared: Prepared) -> None:
        """Draw one panel per norm."""
        (name,) = self.needed()
        column = prepared.columns[name]
        note = self.note(meaning(column), prepared.table)
        text = PanelText(self.title, note, axis_label(column), level=self.level, formula=mathtext(column))
        table = by_depth(prepared.table) if self.own_layers and self.layers is None else prepared.table
        draw_by_norm(figure, table, text, log=self.log, cut=self.cut)


@dataclass(frozen=True, kw_only=True)
class BatchLines(LayerLines):
    """A column whose value at a record comes from one batch and differs from batch to batch.

    The line is a running median; each record is drawn pale behind it. Neighbouring records of the gradient's variance
    are nearly independent: in the committed runs, successive differences have a correlation of -0.43, where independent
    records have -0.5 and alternating ones -1. All layers rise and fall together, so the batch causes the variation and
    not the training.

    Attributes:
        median: Window of the running median, an odd number of records. None takes an eighth of the records, at most
            nine, or one record if ``smooth`` is given.
    """

    median: int | None = None

    def prepare(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the median over runs, a row for each arm, layer and step; ``raw`` is the recorded value."""
        (column,) = self.needed()
        chosen = smoothed(self.choose_layers(rows), column, window=self.smooth)
        table, window = over_runs(chosen, column=column), self._window(chosen)
        if window == 1:
            return table
        medians = running_median(chosen, column=column, window=window, by=(RUN, LAYER))
        lines = over_runs(chosen.assign(**{column: medians}), column=column)
        lines[RAW], lines[NAN_RUNS], lines["window"] = table[MEAN], table[NAN_RUNS], window
        return lines

    def _window(self, rows: pd.DataFrame) -> int:
        if self.median is not None or self.smooth > 1:
            return self.median or 1
        records = int(rows.groupby([RUN, LAYER], observed=True).size().min())
        return max(1, min(MOST_IN_MEDIAN, records // 8) | 1 if records >= 16 else 1)

    def note(self, words: str, table: pd.DataFrame) -> str:
        """Return the words, and the number of batches that each point of the line comes from."""
        if "window" not in table:
            return f"{super().note(words, table)}; each record is one batch"
        window = int(table["window"].iloc[0])
        return (
            f"{super().note(words, table)}. Pale: each record, which is one batch; line: median of {window} around it"
        )


def by_depth(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with the depth of each layer instead of its name: "layer 1" is the first of every arm."""
    return table.assign(**{LAYER: [f"layer {place + 1}" for place in table[LAYER_INDEX]]})
