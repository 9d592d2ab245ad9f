"""Curves of arms: their appearance, their bands, and the notes on averages and NaN."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from analysis.plotting.axes.curves import Curve
from analysis.plotting.axes.nan_marks import runs_with_nan
from analysis.plotting.style import Appearance, marker, norm_style, tint
from analysis.summaries.comparison_arms import ARM, ARM_ORDER, NORM, arms_of
from analysis.summaries.transforms import MEAN, NAN_RUNS, RUNS, SPREAD, SURVIVORS
from probes.schema import STEP

MANY_RECORDS = 150  # a line of more records is noisy and is drawn thinner
EXTRA_WIDTH = 0.7  # points by which the lowest of several lines is wider than the topmost


def arm_appearances(table: pd.DataFrame) -> dict[str, Appearance]:
    """Return the appearance of each arm, in drawing order. Arms of one norm share its hue.

    Args:
        table: All rows of one figure, so that an arm has one appearance in all its panels.
    """
    arms = arms_of(table)
    appearances = {}
    for place, arm in enumerate(arms.itertuples()):
        kin = list(arms.loc[arms[NORM] == arm.norm, ARM]) if arm.norm else [arm.arm]
        color, dashes = norm_style(str(arm.norm), place=place)
        appearances[str(arm.arm)] = Appearance(tint(color, kin.index(arm.arm), len(kin)), dashes, marker(place))
    return appearances


def arm_curves(table: pd.DataFrame, appearances: dict[str, Appearance], *, x: str = STEP) -> list[Curve]:
    """Return the curves of the arms that a panel's table has, in drawing order."""
    by_arm = dict(list(table.groupby(ARM, observed=True)))
    drawn = [(by_arm[arm], appearance) for arm, appearance in appearances.items() if arm in by_arm]
    # Each line is thinner than the line below it, so that no line hides another where they coincide.
    extra = [EXTRA_WIDTH * (len(drawn) - 1 - place) / max(len(drawn) - 1, 1) for place in range(len(drawn))]
    return [
        replace(curve, width=curve.width + more)
        for more, (rows, appearance) in zip(extra, drawn, strict=True)
        for curve in [arm_curve(rows, appearance, x=x)]
    ]


def arm_curve(rows: pd.DataFrame, appearance: Appearance, *, x: str = STEP) -> Curve:
    """Return the curve of one arm: mean over its runs, one standard deviation as band, mean of the finite runs."""
    rows = rows.sort_values(x)
    return Curve(
        x=rows[x].to_numpy("float64"),
        y=rows[MEAN].to_numpy("float64"),
        color=appearance.color,
        dashes=appearance.dashes,
        width=1.3 if len(rows) <= MANY_RECORDS else 0.8,
        marker=appearance.marker,
        half_band=rows[SPREAD].to_numpy("float64"),
        survivors=rows[SURVIVORS].to_numpy("float64"),
    )


def band_note(note: str, table: pd.DataFrame, *, band: bool = True) -> str:
    """Return a note with the number of runs averaged and the meaning of the band, if an arm has several runs."""
    most = int(table[RUNS].max()) if len(table) else 1
    if most <= 1:
        return note
    fewest = int(table[RUNS].min())
    count = f"{most} runs" if fewest == most else f"up to {most} runs"
    return f"{note}; mean {'and ±1 standard deviation ' if band else ''}over {count}"


def whose_nan(table: pd.DataFrame) -> str:
    """Return the arms that were not finite and the number of their runs, for :func:`.nan_marks.mark_nan`."""
    broken = table[table[NAN_RUNS] > 0]
    arms = list(broken.sort_values(ARM_ORDER)[ARM].unique())
    return f"{', '.join(arms)}: {runs_with_nan(table)}" if len(arms) <= 3 else runs_with_nan(table)
