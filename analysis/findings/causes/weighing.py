"""Weighing: the possible causes of a finding that numbers in the tables support."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.findings.run_records import RunRecords

_MOST = 2  # causes that are named
DECISIVE, CLEAR, LIKELY, WEAK = 4.0, 3.0, 2.0, 1.0  # a decisive number leaves no room for other causes


@dataclass(frozen=True)
class Sign:
    """The evidence of the tables for a cause.

    Attributes:
        strength: Strength of the evidence; 0 is evidence against the cause.
        number: The supporting number, in words.
    """

    strength: float
    number: str = ""


AGAINST = Sign(0.0)


def share(part: float) -> str:
    """Return a part of a norm in words: per cent, or a multiple."""
    if part >= 2:
        return f"{part:.3g} times its norm"
    return f"{part:.0%} of its norm" if part >= 0.01 else f"{part:.1g} of its norm"


@dataclass(frozen=True)
class Onset:
    """The place where a finding begins.

    Attributes:
        run: The records of the run.
        step: The first step of the finding.
        layer: The index of the layer that the finding names; None for a finding of the whole run.
    """

    run: RunRecords
    step: int
    layer: int | None = None

    @property
    def record(self) -> int:
        """The index of the last record at or before the step; -1 if there is none."""
        return int(np.searchsorted(self.run.steps, self.step, side="right")) - 1

    @property
    def recorded(self) -> bool:
        """Whether there is a record of the step itself; else the last record is of an earlier step."""
        return self.record >= 0 and int(self.run.steps[self.record]) == self.step

    def now(self, column: str) -> np.ndarray | None:
        """Return a column at the record, ``(layers,)``; None if it was not measured there."""
        return self._at(column, self.record)

    def previous(self, column: str) -> np.ndarray | None:
        """Return a column at the record before, ``(layers,)``; None if it was not measured there."""
        return self._at(column, self.record - 1)

    def usual(self, column: str) -> np.ndarray | None:
        """Return the median of a column over the records before, ``(layers,)``; None if it was never measured."""
        matrix = self.run.whole(column)
        if matrix is None or self.record < 1:
            return None
        finite = np.ma.masked_invalid(matrix[: self.record])
        return None if finite.mask.all() else np.ma.filled(np.ma.median(finite, axis=0), np.nan)

    def _at(self, column: str, record: int) -> np.ndarray | None:
        matrix = self.run.whole(column)
        if matrix is None or record < 0 or np.isnan(matrix[record]).all():
            return None
        return np.asarray(matrix[record])

    def name(self, layer: int) -> str:
        """Return a layer's name."""
        return self.run.layers[layer]


@dataclass(frozen=True)
class Cause:
    """One possible cause of a finding.

    Attributes:
        text: The cause, a noun phrase.
        remedy: What to try if this is the cause.
        sign: Returns the evidence of the tables; None if the tables have no number for this cause.
    """

    text: str
    remedy: str
    sign: Callable[[Onset], Sign | None]


def weighed(causes: Sequence[Cause], onset: Onset, *, remedy: str) -> tuple[str, str]:
    """Return the likely cause and its remedy, in words.

    The causes with the strongest evidence are named, with their numbers. Causes without evidence are named only if no
    other cause has any. Causes with evidence against them are named only if all have.

    Args:
        causes: The possible causes, the more frequent first.
        onset: The place where the finding begins.
        remedy: What to try if no cause has a number of its own.
    """
    with np.errstate(all="ignore"):
        signs = [(cause, cause.sign(onset)) for cause in causes]
    spoken_for = sorted(((c, s) for c, s in signs if s is not None and s.strength > 0), key=lambda cs: -cs[1].strength)
    if spoken_for:
        told = [(c, s) for c, s in spoken_for if s.strength == spoken_for[0][1].strength][:_MOST]
        remedies = dict.fromkeys(cause.remedy for cause, _ in told)
        return "; or ".join(f"{cause.text} ({sign.number})" for cause, sign in told), "; or ".join(remedies)
    untold = [cause for cause, sign in signs if sign is None]
    if untold:
        return f"{', or '.join(cause.text for cause in untold)} (the store has no number that tells)", remedy
    return f"none of the usual ones, by the numbers of the store ({', '.join(cause.text for cause in causes)})", remedy
