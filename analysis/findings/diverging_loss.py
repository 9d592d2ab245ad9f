"""Finding "divergence": the training loss stays far above where it began."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analysis.findings.causes.inputs import LARGE_INPUTS, OTHER_TARGETS
from analysis.findings.causes.learning_rate import TOO_LARGE
from analysis.findings.causes.signals import SCALED_LOSS
from analysis.findings.causes.weights import SET_ELSEWHERE
from analysis.findings.finding import GRAVE, WHOLE_RUN, Evidence, Finding
from analysis.findings.history import lasting
from analysis.findings.run_records import RunRecords
from analysis.findings.thresholds import Thresholds
from probes.schema import STEPS

_KIND, _COLUMN = "divergence", "loss"
_FIRST, _IN_A_ROW = 5, 3


def diverging_loss(run: RunRecords, limits: Thresholds) -> Iterator[Evidence]:
    """Yield the steps at which the training loss is a multiple of the largest of the first five, three in a row.

    Some of the three may be NaN or infinite. The number is the multiple. Losses that are not positive at first, such as
    a critic's, have no multiple.
    """
    logged = run.logged(_COLUMN)
    if logged is None or len(logged[0]) <= _FIRST or not (logged[1][:_FIRST] > 0).all():
        return
    steps, losses = logged
    multiple = (losses / losses[:_FIRST].max())[:, None]
    high = np.isfinite(multiple) & (multiple > limits.diverged)
    high[:_FIRST] = False
    yield Evidence(
        high & lasting(high | ~np.isfinite(multiple), records=_IN_A_ROW),
        steps,
        WHOLE_RUN,
        multiple,
        limits.diverged,
        _COLUMN,
        GRAVE,
        "the loss is {value:.3g} times what it was at first",
        (TOO_LARGE, SCALED_LOSS, LARGE_INPUTS, SET_ELSEWHERE, OTHER_TARGETS),
        "look at the batches of these steps; lower the learning rate, warm it up, clip gradients by norm",
    )


FINDING = Finding(_KIND, {STEPS: (_COLUMN,)}, diverging_loss, fewest=_FIRST + _IN_A_ROW)
