"""Finding "rate jump": the learning rate is raised beyond all earlier rates, and the loss rises with it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from analysis.findings.causes.learning_rate import JUMPED
from analysis.findings.finding import WARNING, WHOLE_RUN, Evidence, Finding
from analysis.findings.history import largest_before
from analysis.findings.run_records import RunRecords
from analysis.findings.thresholds import Thresholds
from probes.schema import STEPS

_KIND, _LOSS, _RATE = "rate jump", "loss", "lr"
_BEFORE, _AFTER, _WITHIN = 20, 5, 20  # logged numbers: before the jump, after it, and until the loss has risen


def rate_jump(run: RunRecords, limits: Thresholds) -> Iterator[Evidence]:
    """Yield the steps from a jump of the learning rate to the last higher loss; the number is the jump.

    A jump is a rate that is a multiple of the largest rate so far, as of a schedule that multiplies where it should
    divide. A warm-up takes many small steps. A warm restart goes back to an earlier rate. The loss is higher when the
    median of five losses is above the largest of the 20 before the jump, or is NaN.
    """
    logged, rates = run.logged(_LOSS), run.logged(_RATE)
    if logged is None or rates is None:
        return
    steps, losses = logged
    rate = run.logged_at(_RATE, steps)
    with np.errstate(divide="ignore", invalid="ignore"):
        jumps = rate / largest_before(rate)
    recent = pd.Series(losses).rolling(_AFTER).median().to_numpy()
    higher, sizes = np.zeros(len(steps), dtype=bool), np.full(len(steps), np.nan)
    for at in np.flatnonzero(np.isfinite(jumps) & (jumps >= limits.rate_jump)):
        before = losses[max(at - _BEFORE, 0) : at]
        if len(before) == _BEFORE and np.isfinite(before).all():
            risen = np.flatnonzero(~(recent[at + _AFTER - 1 : at + _WITHIN] <= before.max()))
            until = at + _AFTER + risen[-1] if risen.size else at
            higher[at:until] = True
            sizes[at:until] = jumps[at]
    yield Evidence(
        higher[:, None],
        steps,
        WHOLE_RUN,
        sizes[:, None],
        limits.rate_jump,
        _RATE,
        WARNING,
        "the learning rate rose to {value:.3g} times the largest before, and the loss rose with it",
        (JUMPED,),
        "look at the schedule (gamma, milestones), and go back to the checkpoint before the jump",
    )


FINDING = Finding(_KIND, {STEPS: (_LOSS, _RATE)}, rate_jump, fewest=_BEFORE + _AFTER)
