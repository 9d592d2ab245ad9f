"""Finding "zero gradient": a layer's gradient is exactly 0, step after step."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analysis.findings.causes.signals import DEAD, NO_INPUTS, PADDING
from analysis.findings.causes.weights import ZEROS
from analysis.findings.finding import GRAVE, WARNING, Evidence, Finding
from analysis.findings.history import first_measured, lasting
from analysis.findings.run_records import RunRecords
from analysis.findings.thresholds import Thresholds
from probes.schema import LAYERS, STEPS

_KIND, _COLUMN, _LOSS = "zero gradient", "grad_l2_norm", "loss"
_RECORDS = 3  # in a row: behind a weight of zeros the gradient is 0 at the first step only
_SOLVED = 1e-6  # share of the first loss up to which the loss counts as 0: a hinge loss at 0 has no gradient


def zero_gradient(run: RunRecords, limits: Thresholds) -> Iterator[Evidence]:
    """Yield the layers whose gradient is exactly 0; the number is the network's largest gradient norm at the record.

    The finding is grave if every layer has such a gradient and the loss is not 0. A gradient that has vanished below
    the range of float32 is a finding of another kind.
    """
    if (records := run.take(_COLUMN)) is None:
        return
    norms = records[_COLUMN]
    largest = np.fmax.reduce(norms, axis=1)[:, None]
    losses = run.logged_at(_LOSS, records.steps)[:, None]
    solved = np.abs(losses) <= _SOLVED * np.abs(first_measured(losses))
    zero = norms == 0
    underflow = ((norms > 0) & (norms < limits.vanished * largest)).any(axis=1, keepdims=True)
    every = lasting(zero & (largest == 0) & ~solved, records=_RECORDS)
    some = lasting(zero & (largest > 0) & ~underflow, records=_RECORDS)
    for severity, where, text in (
        (GRAVE, every, "the gradient of every layer is exactly 0"),
        (WARNING, some, "the gradient is exactly 0, while the network's largest has norm {value:.3g}"),
    ):
        yield Evidence(
            where,
            records.steps,
            run.layers,
            np.broadcast_to(largest, norms.shape),
            limits.vanished,
            _COLUMN,
            severity,
            text,
            (PADDING, DEAD, ZEROS, NO_INPUTS),
            "look for a factor of 0 and a detached output between the layer and the loss; initialise at random",
        )


FINDING = Finding(_KIND, {LAYERS: (_COLUMN,), STEPS: (_LOSS,)}, zero_gradient, fewest=_RECORDS)
