"""Drift of each nonlinearity's input on a fixed batch in evaluation mode, where centring does not fix the mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.plotting.column_words import in_words
from analysis.plotting.figure_spec import FigureSpec, Prepared
from analysis.plotting.page import PanelText
from analysis.plotting.panels.by_norm import draw_by_norm
from analysis.plotting.panels.layer_lines import by_depth
from analysis.reading.tables import records
from analysis.summaries.comparison_arms import ARM, ARM_ORDER, NORM, arms_of
from analysis.summaries.nonlinearities.channel_drift import (
    DEAD_SHARE,
    POSITIVE_SHARE,
    RUNNING_GAP,
    SEEN_DRIFT,
    UNLEARNED_DRIFT,
    UNLEARNED_MEAN,
    channel_drift,
)
from analysis.summaries.subsets import was_measured
from analysis.summaries.transforms import MEAN, end_together, last_value, over_runs
from probes.schema import CHANNEL_COLUMNS, CHANNELS, LAYER_INDEX, RUN, STEP

_WORDS = {
    SEEN_DRIFT: (
        "Change of the channel means on a fixed batch in evaluation",
        "drift [deviations]",
    ),
    UNLEARNED_DRIFT: ("The part of the drift that no beta, m or bias of the layer has learned", "drift [deviations]"),
    UNLEARNED_MEAN: ("Channel means that nothing has taken away or learned", "mean [deviations]"),
    RUNNING_GAP: ("Running mean against the mean of the fixed batch", "gap [deviations]"),
    DEAD_SHARE: ("Share of channels that no image of the fixed batch turns on", "share of channels"),
    POSITIVE_SHARE: ("Share of positive entries", "share of entries"),
}
_FORMULAS = {
    SEEN_DRIFT: r"$(\mathrm{mean}_c\,(\mu_c-\mu_c^{ref})^2)^{1/2}\,/\,\sigma$",
    UNLEARNED_DRIFT: r"$(\mathrm{mean}_c\,(d_c-d_c^{ref})^2)^{1/2}\,/\,\sigma$,   $d=\mu-b$, $b$: beta, m or bias",
    UNLEARNED_MEAN: r"$(\mathrm{mean}_c\,(\mu_c-b_c)^2)^{1/2}\,/\,\sigma$",
}
_DRIFTS = (SEEN_DRIFT, UNLEARNED_DRIFT)
MEASURE = "measure"
MOST_NAMED = 4  # arms in the message


@dataclass(frozen=True, kw_only=True)
class Channels(FigureSpec):
    """One measure of the nonlinearities' inputs on the probe batch; one panel per norm, one line per layer.

    Attributes:
        measure: Of :func:`analysis.channel_drift`: ``unlearned_drift``, ``seen_drift``, ``unlearned_mean``,
            ``running_gap``, ``dead_share`` or ``positive_share``.
        since: Step from which drift counts: running statistics take about 50 steps to settle. If fewer than two
            recorded steps are left, runs are drawn from their first record, and the message says so. A single record
            has no drift yet, so its means are drawn.
    """

    measure: str = UNLEARNED_DRIFT
    since: int = 50
    name = "channels"
    title = "What each nonlinearity sees of a fixed batch"
    reads = CHANNELS
    columns = tuple(column.name for column in CHANNEL_COLUMNS)
    keeps_unmeasured = True  # a layer without running statistics has no running mean

    def prepare(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the measure over runs, a row for each arm, layer and step; ``layer_index`` is the depth in the arm.

        Column ``measure`` names the measure that is shown.

        Raises:
            ValueError: No such measure, or no layer has it.
        """
        if self.measure not in _WORDS:
            raise ValueError(f"figure {self.name!r}: measure {self.measure!r}; expected one of {', '.join(_WORDS)}")
        arms = rows[[RUN, ARM, ARM_ORDER, NORM]].drop_duplicates()
        steps = np.sort(rows[STEP].unique())
        since = self.since if (steps >= self.since).sum() > 1 else int(steps[0])
        measure = UNLEARNED_MEAN if len(steps) == 1 and self.measure in _DRIFTS else self.measure
        if self.measure == RUNNING_GAP:
            rows = rows[was_measured(rows, "running_mean")]  # not every layer keeps a running mean
        if rows.empty:
            raise ValueError(
                f"figure {self.name!r}: no layer of these runs keeps a running mean; choose runs with bn or msn"
            )
        found = channel_drift(rows.astype({RUN: str}), since=since).merge(arms, on=RUN)
        found = found[found[STEP] >= since]
        place = found.groupby(ARM, observed=True)[LAYER_INDEX].rank(method="dense").astype("int64") - 1
        return over_runs(found.assign(**{LAYER_INDEX: place}), column=measure).assign(**{MEASURE: measure})

    def draw(self, figure: Figure, prepared: Prepared) -> None:
        """Draw one panel per norm."""
        measure, first = str(prepared.table[MEASURE].iloc[0]), int(prepared.table[STEP].min())
        words, label = _WORDS[measure]
        note = f"{_message(prepared.table)}{words}; from step {first} on"
        if measure != self.measure:
            note = f"One record has no drift yet. {words}, at step {first}"
        elif measure in _DRIFTS and first < self.since:
            note += ", where running statistics have not settled"
        formula = _FORMULAS.get(measure, "")
        title = f"{self.title}: {in_words(measure)}"
        draw_by_norm(figure, by_depth(prepared.table), PanelText(title, note, label, formula=formula), cut=False)


def _message(table: pd.DataFrame) -> str:
    """Return the largest value of a layer at the end, by arm."""
    last, arms = last_value(table), records(arms_of(table))
    most = last.groupby(ARM, observed=True)[MEAN].max()
    if len(arms) > MOST_NAMED or last[MEAN].isna().any() or not end_together(table):
        return ""
    return f"Most in a layer at the end: {', '.join(f'{arm[ARM]} {most[arm[ARM]]:.2g}' for arm in arms)}. "
