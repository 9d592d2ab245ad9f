"""An arm as a curve: its look, its band, and in words what it is averaged over."""

from __future__ import annotations

import pandas as pd

from analysis.plotting.axes.curves import Curve
from analysis.plotting.axes.nan_marks import runs_with_nan
from analysis.plotting.style import Look, look, marker, tint
from analysis.summaries.arms import ARM, ARM_ORDER, NORM, arms_of
from analysis.summaries.transforms import MEAN, NAN_RUNS, RUNS, SPREAD, SURVIVORS
from probes.schema import STEP

MANY_RECORDS = 150  # a noisy line of more is drawn thinner


def arm_looks(table: pd.DataFrame) -> dict[str, Look]:
    """Return the look of each arm, in drawing order; arms of one norm share its hue.

    Args:
        table: All that one figure shows, so that an arm looks the same in each of its panels.
    """
    arms = arms_of(table)
    looks = {}
    for place, arm in enumerate(arms.itertuples()):
        kin = list(arms.loc[arms[NORM] == arm.norm, ARM]) if arm.norm else [arm.arm]
        color, dashes = look(str(arm.norm), place=place)
        looks[str(arm.arm)] = Look(tint(color, kin.index(arm.arm), len(kin)), dashes, marker(place))
    return looks


def arm_curves(table: pd.DataFrame, looks: dict[str, Look], *, x: str = STEP) -> list[Curve]:
    """Return the curves of the arms that a panel's table has, in drawing order."""
    by_arm = dict(list(table.groupby(ARM, observed=True)))
    return [arm_curve(by_arm[arm], look, x=x) for arm, look in looks.items() if arm in by_arm]


def arm_curve(rows: pd.DataFrame, look: Look, *, x: str = STEP) -> Curve:
    """Return the curve of one arm: mean, band of one standard deviation over its runs, survivors of a NaN."""
    rows = rows.sort_values(x)
    return Curve(
        x=rows[x].to_numpy("float64"),
        y=rows[MEAN].to_numpy("float64"),
        color=look.color,
        dashes=look.dashes,
        width=1.3 if len(rows) <= MANY_RECORDS else 0.8,
        marker=look.marker,
        half_band=rows[SPREAD].to_numpy("float64"),
        survivors=rows[SURVIVORS].to_numpy("float64"),
    )


def band_note(note: str, table: pd.DataFrame, *, band: bool = True) -> str:
    """Return a note with what is averaged and what the band is, if runs repeat each other."""
    most = int(table[RUNS].max()) if len(table) else 1
    if most <= 1:
        return note
    fewest = int(table[RUNS].min())
    count = f"{most} runs" if fewest == most else f"up to {most} runs"
    return f"{note}; mean {'and ±1 standard deviation ' if band else ''}over {count}"


def whose_nan(table: pd.DataFrame) -> str:
    """Return which arms were not finite, and in how many runs, for :func:`.nan_marks.mark_nan`."""
    broken = table[table[NAN_RUNS] > 0]
    arms = list(broken.sort_values(ARM_ORDER)[ARM].unique())
    return f"{', '.join(arms)}: {runs_with_nan(table)}" if len(arms) <= 3 else runs_with_nan(table)
