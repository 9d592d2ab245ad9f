"""A figure of any single column, with a line for each layer or for the network, and a figure of weight histograms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.gallery.figure import figure, numbers_of
from analysis.plotting.column_words import axis_label, definition, in_words, mathtext, meaning, with_smoothing
from analysis.plotting.figure_spec import FigureSpec, Prepared
from analysis.plotting.page import PanelText
from analysis.plotting.panels.by_norm import THIRDS, draw_by_norm, thirds
from analysis.plotting.panels.by_quantity import draw_by_quantity
from analysis.plotting.panels.layer_lines import LayerLines
from analysis.reading.depth_order import layer_names
from analysis.reading.selection import Patterns
from analysis.reading.store import AnyStore, Store
from analysis.reading.tables import Steps, fields_if_any
from analysis.summaries.layer_choice import FEW_LAYERS, in_depth_order, is_normalisation
from analysis.summaries.transforms import MEAN, over_runs, smooth
from probes.schema import (
    CHANNELS,
    HISTOGRAMS,
    LAYER,
    LAYER_TYPE,
    LAYERS,
    PARAMETERS,
    RUN,
    SPECTRA,
    SPLIT,
    STEP,
    STEPS,
    UNITS,
)

_NAMED = 4  # layers without the column that the note names
_DECADES = 100.0  # largest over smallest value from which on the axis is logarithmic


@dataclass(frozen=True, kw_only=True)
class ColumnLines(LayerLines):
    """One column of each layer.

    Attributes:
        column: Any column of table ``layers``.
    """

    column: str
    name: ClassVar[str] = "column"
    title: ClassVar[str] = ""

    def needed(self) -> tuple[str, ...]:
        """Return the chosen column."""
        return (self.column,)

    def choose_layers(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return all rows: normalisation layers have most columns too."""
        return rows

    def prepare(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the column over runs, a row for each arm, layer and step; ``layer_type`` is that of the layer."""
        types = rows.drop_duplicates(LAYER).set_index(LAYER)[LAYER_TYPE].astype(str)
        table = super().prepare(rows)
        return table.assign(**{LAYER_TYPE: types.reindex(table[LAYER].to_numpy()).to_numpy()})

    def draw(self, figure: Figure, prepared: Prepared) -> None:
        """Draw one panel per norm, on a logarithmic axis where the values span decades.

        If there are many layers, normalisation layers are drawn apart from the others, because their numbers have
        another magnitude.
        """
        column, table = prepared.columns[self.column], prepared.table
        note = with_smoothing(meaning(column), self.smooth) + self._left_out(prepared)
        title = in_words(self.column).capitalize()
        text = PanelText(title, note, axis_label(column), formula=mathtext(column))
        draw_by_norm(figure, table, text, log=_spans_decades(table), groups=_kinds_in_thirds(table))

    def _left_out(self, prepared: Prepared) -> str:
        """Return which layers of the runs have no such column, in words; nothing where layers were chosen."""
        if self.layers is not None:
            return ""
        drawn = set(prepared.table[LAYER].astype(str))
        lacking = [name for name in layer_names(prepared.store, runs=list(prepared.runs[RUN])) if name not in drawn]
        if not lacking:
            return ""
        more = f" and {len(lacking) - _NAMED} more" if len(lacking) > _NAMED else ""
        return f"; left out, because they have no such number: {', '.join(lacking[:_NAMED])}{more}"


@dataclass(frozen=True, kw_only=True)
class StepLines(FigureSpec):
    """One number of the whole network that the loop logged, over steps; one panel per split.

    Attributes:
        column: Any column of table ``steps``.
        smooth: Number of records in the trailing mean; 1 smooths nothing.
    """

    column: str
    smooth: int = 1
    name: ClassVar[str] = "column"
    title: ClassVar[str] = ""
    reads: ClassVar[str] = STEPS
    across_models: ClassVar[bool] = True

    def needed(self) -> tuple[str, ...]:
        """Return the chosen column."""
        return (self.column,)

    def prepare(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the column over runs, a row for each arm, split and step."""
        ordered = rows.sort_values(STEP, kind="stable")
        values = smooth(ordered, column=self.column, window=self.smooth, by=[RUN, SPLIT])
        return over_runs(ordered.assign(**{self.column: values}), column=self.column, by=(SPLIT, STEP))

    def draw(self, figure: Figure, prepared: Prepared) -> None:
        """Draw one panel per split, training first, on a logarithmic axis where the values span decades."""
        column, table = prepared.columns[self.column], prepared.table
        names = sorted(table[SPLIT].astype(str).unique(), key=lambda name: (name != "train", name))
        panels = {name: table[table[SPLIT] == name] for name in names}
        note = with_smoothing(definition(column), self.smooth)
        text = PanelText(in_words(self.column).capitalize(), note, axis_label(column))
        draw_by_quantity(figure, panels, text, log=_spans_decades(table))


def _kinds_in_thirds(table: pd.DataFrame) -> dict[str, list[str]] | None:
    """Return the thirds of the layers that normalise and of those that do not; None if each layer has its own line."""
    names = in_depth_order(table)
    if len(names) <= FEW_LAYERS:
        return None
    types = dict(zip(table[LAYER].astype(str), table[LAYER_TYPE], strict=True))
    normalising = [name for name in names if is_normalisation(types[name])]
    others = [name for name in names if name not in set(normalising)]
    return {**_parts(others, "layers"), **_parts(normalising, "norm layers")}


def _parts(names: list[str], words: str) -> dict[str, list[str]]:
    if len(names) < len(THIRDS):
        return {f"{len(names)} {words}": names} if names else {}
    return {part.replace("layers", words): group for part, group in thirds(names).items()}


def _spans_decades(table: pd.DataFrame) -> bool:
    values = table[MEAN].to_numpy("float64")
    finite = values[np.isfinite(values)]
    return bool(finite.size and finite.min() > 0 and finite.max() > _DECADES * finite.min())


def plot(
    column: str,
    store: AnyStore,
    *,
    runs: Patterns = None,
    layers: Patterns = None,
    steps: Steps = None,
    smooth: int = 1,
) -> Figure:
    """Return a figure of a column of table ``layers``, one line per layer, or of table ``steps``, one line per arm.

    All layers that have the column are drawn, normalisation layers too, in one panel per norm. The note below the title
    names the layers without the column. With more than eight layers, the lines are medians over thirds of the depth. A
    column of ``steps``, such as ``"loss"``, ``"accuracy"``, ``"lr"`` or ``"grad_norm"``, has one panel per split.

    Args:
        column: The column, such as ``"weight_mean"`` or ``"loss"``.
        store: The store's folder or URL, or an open Store.
        runs: Run ids or shell patterns; None draws all runs.
        layers: Layer names or shell patterns; None draws all that have the column. Not for a column of ``steps``.
        steps: First and last step, both included.
        smooth: Number of records in the trailing mean.

    Raises:
        FileNotFoundError: There is no such store.
        ValueError: There is no such column, run or layer; the message lists the valid names, or names the function
            that reads the column.
    """
    opened = Store.open(store)
    spec: FigureSpec
    if _is_of_the_network(column, opened, runs):
        if layers is not None:
            raise ValueError(f"column {column!r} is of the whole network, in table {STEPS!r}: leave out layers=")
        spec = StepLines(column=column, smooth=smooth)
    else:
        spec = ColumnLines(column=column, layers=layers, smooth=smooth)
    return numbers_of(spec, opened, runs=runs, steps=steps).draw()


def _is_of_the_network(column: str, store: Store, runs: Patterns) -> bool:
    """Return whether a column is one of table ``steps``, and not one of the layers.

    Raises:
        ValueError: It is a column of another table.
    """
    if column in fields_if_any(store, LAYERS, runs=runs):
        return False
    if column in fields_if_any(store, STEPS, runs=runs):
        return True
    for table in (PARAMETERS, CHANNELS, UNITS, HISTOGRAMS, SPECTRA):
        if column in fields_if_any(store, table, runs=runs):
            raise ValueError(
                f"column {column!r} is in table {table!r}, which md.{table}(store) reads; plot draws columns of tables "
                f"{LAYERS!r} and {STEPS!r}"
            )
    return False


def weight_histograms(store: AnyStore, *, runs: Patterns = None, steps: Steps = None, **options: Any) -> Figure:
    """Return a figure of the distribution of each layer's weights: figure ``gradient_histograms``, of the weights.

    Args:
        store: The store's folder or URL, or an open Store.
        runs: Run ids or shell patterns; None draws all runs.
        steps: First and last step, both included.
        options: ``layers``, ``at``, ``bins`` and ``log`` of that figure.

    Raises:
        FileNotFoundError: There is no such store.
        ValueError: The store has no histograms of weights, or no such run or layer.
    """
    return figure("gradient_histograms", store, runs=runs, steps=steps, **{"tensor": "weight", **options})
