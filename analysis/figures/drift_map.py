"""Drift of each layer's mean in units of its own deviation, over depth and time."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from analysis.plotting.figure_spec import FigureSpec, Prepared
from analysis.plotting.page import PanelText
from analysis.plotting.panels.heat_maps import draw_heat_maps
from analysis.reading.selection import Patterns
from analysis.reading.tables import records
from analysis.summaries.comparison_arms import ARM, NORM, arms_of
from analysis.summaries.layer_choice import weight_layers
from analysis.summaries.nonlinearities.layers_before import pre_activation_layers
from analysis.summaries.norm_names import norm_label
from analysis.summaries.scaled_drift import scaled_drift
from analysis.summaries.transforms import MEAN, end_together, last_value, over_runs

ACTIVATION, WEIGHT = "activation", "weight"
FORMULA = r"$(\mu_t-\mu_0)\,/\,s_t$,   $\mu$ and $s$: mean and standard deviation of the tensor"
MOST_NAMED = 4  # arms in the message


def drifting_rows(rows: pd.DataFrame, *, tensor: str, asked: Patterns, figure: str) -> pd.DataFrame:
    """Return the rows of the layers whose drift is drawn, with column ``drift``, signed and in standard deviations.

    Args:
        rows: Table ``layers`` with ``<tensor>_mean`` and ``<tensor>_var``.
        tensor: ``activation``, before each nonlinearity, or ``weight``.
        asked: Layers that the caller asked for; None lets the figure choose.
        figure: Name of the figure, for the error message.

    Raises:
        ValueError: No such tensor.
    """
    if tensor not in (ACTIVATION, WEIGHT):
        raise ValueError(f"figure {figure!r}: tensor {tensor!r}; expected {ACTIVATION!r} or {WEIGHT!r}")
    chosen = pre_activation_layers(rows) if tensor == ACTIVATION else weight_layers(rows, asked)
    return chosen.assign(drift=scaled_drift(chosen, tensor=tensor))


def behind_a_norm(table: pd.DataFrame) -> str:
    """Return a note that names the arms whose mean is a norm's own parameter; empty if there is none."""
    norms = {str(norm).removeprefix("released_") for norm in table[NORM].unique()}
    found = [norm_label(norm) for norm in ("bn", "msn") if norm in norms]
    return f"; behind {' and '.join(found)} the mean is that of their own β or m" if found else ""


def tensor_words(tensor: str) -> str:
    """Return the name of the drifting tensor in words."""
    return "the nonlinearity's input" if tensor == ACTIVATION else "the weights"


@dataclass(frozen=True, kw_only=True)
class DriftMap(FigureSpec):
    """Signed drift of the mean since the first record, in the tensor's deviations; layer by step, a panel per norm.

    All panels share one diverging scale. The drift does not change if a layer's values are multiplied by a factor.

    Attributes:
        tensor: ``activation``, the input of each nonlinearity, or ``weight``.
    """

    tensor: str = ACTIVATION
    name = "drift_map"
    title = "Mean drift over depth and time"
    before_nonlinearity = True

    def needed(self) -> tuple[str, ...]:
        """Return mean and variance of the tensor."""
        return f"{self.tensor}_mean", f"{self.tensor}_var"

    def prepare(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the drift over runs, a row for each arm, layer and step."""
        drifting = drifting_rows(rows, tensor=self.tensor, asked=self.layers, figure=self.name)
        return over_runs(drifting, column="drift")

    def draw(self, figure: Figure, prepared: Prepared) -> None:
        """Draw one heat map per arm."""
        note = f"{_message(prepared.table)}Red: the mean of {tensor_words(self.tensor)} has risen; blue: fallen"
        note += behind_a_norm(prepared.table) if self.tensor == ACTIVATION else ""
        text = PanelText(self.title, note, "drift [standard deviations]", formula=FORMULA)
        draw_heat_maps(figure, prepared.table, text, own_layers=self.tensor == ACTIVATION, signed=True)


def _message(table: pd.DataFrame) -> str:
    """Return the largest drift of a layer at the end, by arm, with its sign."""
    last, arms = last_value(table), records(arms_of(table))
    if len(arms) > MOST_NAMED or not end_together(table):
        return ""
    said = []
    for arm in arms:
        mine = last.loc[last[ARM] == arm[ARM], MEAN]
        furthest = f"{mine.loc[mine.abs().idxmax()]:+.2g}".replace("-", "−") if mine.notna().all() else "NaN"
        said.append(f"{arm[ARM]} {furthest}")
    return f"Furthest layer at the end: {', '.join(said)} deviations. " if said else ""
