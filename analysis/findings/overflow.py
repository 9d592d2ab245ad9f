"""Finding "overflow": outputs so large that float16 does not hold them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analysis.findings.causes.inputs import LARGE_INPUTS
from analysis.findings.causes.learning_rate import TOO_LARGE
from analysis.findings.causes.weights import GROWING, SET_ELSEWHERE
from analysis.findings.finding import WARNING, Evidence, Finding
from analysis.findings.run_records import RunRecords
from analysis.findings.thresholds import Thresholds
from probes.schema import LAYERS

_MEAN, _VARIANCE = "activation_mean", "activation_var"


def overflow(run: RunRecords, limits: Thresholds) -> Iterator[Evidence]:
    """Yield the layers whose outputs have a root mean square above a level; the number is the root mean square."""
    if (records := run.take(_MEAN, _VARIANCE)) is None:
        return
    size = np.sqrt(records[_VARIANCE] + records[_MEAN] ** 2)
    yield Evidence(
        size > limits.overflow,
        records.steps,
        run.layers,
        size,
        limits.overflow,
        _VARIANCE,
        WARNING,
        "the root mean square of the outputs is {value:.3g}; float16 ends at 65504",
        (LARGE_INPUTS, SET_ELSEWHERE, TOO_LARGE, GROWING),
        "scale the inputs to about 1, normalise, or lower the learning rate; take bfloat16 in place of float16",
    )


FINDING = Finding("overflow", {LAYERS: (_MEAN, _VARIANCE)}, overflow)
