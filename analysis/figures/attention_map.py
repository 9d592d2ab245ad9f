"""The largest logit, or the entropy, of every attention module at every step."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from analysis.plotting.figure_spec import FigureSpec, Prepared
from analysis.plotting.panels.heat_maps import column_text, draw_heat_maps
from analysis.summaries.comparison_arms import ARM, ARM_ORDER, NORM
from analysis.summaries.transforms import over_runs
from probes.schema import LAYER, LAYER_INDEX, RUN, STEP, UNITS

_LARGEST = {"attention_logit_max", "router_load"}  # drawn as the largest over units; other columns as the mean


@dataclass(frozen=True, kw_only=True)
class AttentionMap(FigureSpec):
    """Attention module by step, one panel per arm: the largest logit, or the mean entropy, over the heads of a module.

    Attributes:
        column: ``attention_logit_max``, ``attention_entropy`` or any other column of table ``units``.
    """

    column: str = "attention_logit_max"
    name = "attention_map"
    title = "Attention over depth and time"
    reads = UNITS

    def needed(self) -> tuple[str, ...]:
        """Return the chosen column."""
        return (self.column,)

    def prepare(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the column over heads and runs, a row for each arm, module and step."""
        keys = [ARM_ORDER, ARM, NORM, RUN, STEP, LAYER, LAYER_INDEX]
        # A NaN in one head makes the value of the module NaN; pandas alone would skip it.
        how = "max" if self.column in _LARGEST else "mean"
        groups = rows.groupby(keys, observed=True, sort=False)[self.column]
        of_modules = groups.agg(how).where(groups.count() == groups.size())
        return over_runs(of_modules.reset_index(), column=self.column)

    def draw(self, figure: Figure, prepared: Prepared) -> None:
        """Draw one panel per arm, input at the top."""
        over = "largest of its units" if self.column in _LARGEST else "mean over its units"
        text = column_text(self.title, prepared.columns[self.column], f"{over}, input at the top")
        draw_heat_maps(figure, prepared.table, text)
