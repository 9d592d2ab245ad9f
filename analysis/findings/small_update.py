"""Finding "small update": the optimizer has hardly moved the weights since the start."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analysis.findings.causes.learning_rate import TOO_SMALL
from analysis.findings.causes.signals import SCALED_DOWN
from analysis.findings.finding import WARNING, Evidence, Finding
from analysis.findings.history import always_before, first_measured, largest_before
from analysis.findings.run_records import RunRecords
from analysis.findings.thresholds import Thresholds
from analysis.findings.update_sizes import NORM, UPDATE, typical_updates
from probes.schema import LAYERS, STEPS

_LOSS, _RATE, _GRADIENT = "loss", "lr", "grad_l2_norm"
_RECORDS = 5
_LEARNED = 0.9  # share of the first loss below which the training learns
_WARMS_UP = 1.5  # growth of the learning rate since the first record above which a warm-up is going on
_CONVERGED = 0.1  # share of the largest gradient norm so far below which small updates are convergence


def small_update(run: RunRecords, limits: Thresholds) -> Iterator[Evidence]:
    """Yield the layers whose update has been small at every record so far, in a training that has not learned.

    The number is the layer's ``|W' - W| / |W|``. The median over layers must be small too. A warm-up, a falling loss
    and gradients that have become small are no finding.
    """
    if (found := typical_updates(run)) is None:
        return
    records, typical = found
    sizes, steps = records[UPDATE], records.steps
    rates, losses = run.logged_at(_RATE, steps)[:, None], run.logged_at(_LOSS, steps)[:, None]
    excused = (rates > _WARMS_UP * first_measured(rates)) | (losses < _LEARNED * first_measured(losses))
    small = (typical > 0) & (typical < limits.small_update) & ~excused & ~_converged(run, steps)
    since_start = small & always_before(small)
    if since_start[:_RECORDS].sum() < _RECORDS:
        return
    yield Evidence(
        since_start & (sizes < limits.small_update),
        steps,
        run.layers,
        sizes,
        limits.small_update,
        UPDATE,
        WARNING,
        "one step changes the weight by {value:.1g} times its norm; about 0.001 is usual",
        (TOO_SMALL, SCALED_DOWN),
        "raise the learning rate by factors of 10 until the loss falls",
    )


def _converged(run: RunRecords, steps: np.ndarray) -> np.ndarray:
    norms = run.at(_GRADIENT, steps)
    if norms is None:
        return np.zeros((len(steps), 1), dtype=bool)
    largest = np.fmax.reduce(norms, axis=1)[:, None]
    return np.asarray(largest < _CONVERGED * largest_before(largest))


FINDING = Finding(
    "small update", {LAYERS: (UPDATE, NORM, _GRADIENT), STEPS: (_LOSS, _RATE)}, small_update, fewest=_RECORDS
)
