"""Finding "plateau": the training loss has not moved since the start."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from analysis.findings.causes.inputs import WRONG_LABELS
from analysis.findings.causes.learning_rate import TOO_SMALL
from analysis.findings.finding import NOTE, WHOLE_RUN, Evidence, Finding
from analysis.findings.history import always_before
from analysis.findings.run_records import RunRecords
from analysis.findings.thresholds import Thresholds
from probes.schema import STEPS

_COLUMN = "loss"
_FIRST, _FEWEST = 10, 30  # losses whose median is the start; fewest losses for a finding


def loss_plateau(run: RunRecords, limits: Thresholds) -> Iterator[Evidence]:
    """Yield the steps up to which the median of ten losses never differed by a share from that of the first ten.

    The number is the fall so far, ``1 - median / first median``. It is not defined for losses that are not positive.
    """
    logged = run.logged(_COLUMN)
    if logged is None or len(logged[0]) < _FEWEST or not (logged[1][:_FIRST] > 0).all():
        return
    steps, losses = logged
    medians = pd.Series(losses).rolling(_FIRST).median().to_numpy()
    fall = 1 - medians / medians[_FIRST - 1]
    flat = np.isnan(fall) | (np.abs(fall) < limits.plateau)
    flat &= always_before(flat) & np.isfinite(losses)
    if not flat[:_FEWEST].all():
        return
    yield Evidence(
        flat[:, None],
        steps,
        WHOLE_RUN,
        np.nan_to_num(fall)[:, None],
        limits.plateau,
        _COLUMN,
        NOTE,
        "the loss has not moved by {limit:.0%} since the start",
        (WRONG_LABELS, TOO_SMALL),
        "check the pairs of inputs and labels; train on one batch alone, whose loss must fall to 0",
    )


FINDING = Finding("plateau", {STEPS: (_COLUMN,)}, loss_plateau, fewest=_FEWEST)
