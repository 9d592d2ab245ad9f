"""Finding "loss spike": the training loss jumps far out of its range."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from analysis.findings.causes.inputs import LARGE_INPUTS, OTHER_TARGETS
from analysis.findings.causes.learning_rate import TOO_LARGE
from analysis.findings.causes.signals import SCALED_LOSS
from analysis.findings.causes.weights import SET_ELSEWHERE
from analysis.findings.finding import WARNING, WHOLE_RUN, Evidence, Finding
from analysis.findings.run_records import RunRecords
from analysis.findings.thresholds import Thresholds
from probes.schema import STEPS

_COLUMN = "loss"
_WINDOW, _FEWEST = 20, 8
_TIMES_LARGEST = 3.0  # small losses have small ranges, so a jump must also be large relative to the losses themselves


def loss_spike(run: RunRecords, limits: Thresholds) -> Iterator[Evidence]:
    """Yield the steps whose loss is above the median of the 20 losses before by a multiple of their range.

    The number is that multiple, ``(loss - median) / (largest - smallest)``.
    """
    if (logged := run.logged(_COLUMN)) is None:
        return
    steps, losses = logged
    before = pd.Series(losses).shift(1).rolling(_WINDOW, min_periods=_FEWEST)
    middle, low, high = before.median().to_numpy(), before.min().to_numpy(), before.max().to_numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        heights = (losses - middle) / (high - low)
    largest = _TIMES_LARGEST * np.maximum(np.abs(high), np.abs(low))
    jumps = np.isfinite(losses) & (heights > limits.spike) & (losses > largest)
    yield Evidence(
        jumps[:, None],
        steps,
        WHOLE_RUN,
        heights[:, None],
        limits.spike,
        _COLUMN,
        WARNING,
        "the loss jumps above the 20 steps before by {value:.3g} times their range",
        (LARGE_INPUTS, TOO_LARGE, SCALED_LOSS, SET_ELSEWHERE, OTHER_TARGETS),
        "look at the batch of this step; clip gradients by norm, or lower the learning rate",
    )


FINDING = Finding("loss spike", {STEPS: (_COLUMN,)}, loss_spike, fewest=_FEWEST + 1)
