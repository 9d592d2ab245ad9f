"""Finding "saturation": tanh or sigmoid units that are driven into their flat ends."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from analysis.findings.causes.inputs import LARGE_INPUTS
from analysis.findings.causes.weights import LARGE, SET_ELSEWHERE
from analysis.findings.finding import WARNING, Evidence, Finding
from analysis.findings.run_records import RunRecords
from analysis.findings.thresholds import Thresholds
from analysis.summaries.layer_choice import is_normalisation
from probes.schema import LAYERS

_KIND, _COLUMN, _GRADIENT, _DEAD = "saturation", "saturated_fraction", "activation_grad_var", "dead_fraction"
_INPUT, _BOUNDED = "input_rms", 2.0  # tanh and sigmoid give at most 1, or 1.4 after a dropout of one half
_FLAT = 0.1  # share of the gradient behind the unit that is left before it; tanh leaves less than 0.01 at 3


def saturated_units(run: RunRecords, limits: Thresholds) -> Iterator[Evidence]:
    """Yield the layers of which a share of entries is beyond 3 in magnitude and that pass little gradient back.

    The number is the share. Large outputs alone are no fault before a ReLU. The gradient that arrives at the layer must
    also be a small part of the gradient at the next layer with a weight. Dead layers and layers before a normalisation,
    whose outputs no tanh sees, are left out. Layers are also left out if the root mean square of the next layer's input
    was above 2 when it was recorded last. A tanh or a sigmoid gives no values as large, but a ReLU may.
    """
    if (records := run.take(_COLUMN, _GRADIENT)) is None:
        return
    share, size = records[_COLUMN], np.sqrt(records[_GRADIENT])
    behind = _of_next(run, size)
    dead = run.at(_DEAD, records.steps)
    alive = np.ones(share.shape, dtype=bool) if dead is None else ~(dead >= limits.dead)
    normalised = np.array([is_normalisation(kind) for kind in (*run.types[1:], "")])
    yield Evidence(
        (share >= limits.saturated) & (size < _FLAT * behind) & alive & ~normalised & ~_passed_on(run, records.steps),
        records.steps,
        run.layers,
        share,
        limits.saturated,
        _COLUMN,
        WARNING,
        "{value:.0%} of the outputs are beyond 3 in magnitude, where tanh and sigmoid are flat, and hardly any "
        "gradient passes",
        (SET_ELSEWHERE, LARGE, LARGE_INPUTS),
        "initialise smaller (Glorot), scale the inputs to about 1, normalise before the activation, or take ReLU in "
        "place of tanh or sigmoid",
    )


def _passed_on(run: RunRecords, steps: np.ndarray) -> np.ndarray:
    """Return where the input of the next layer was too large for a tanh or sigmoid, ``(records, layers)``."""
    inputs = run.whole(_INPUT)
    if inputs is None:
        return np.zeros((len(steps), len(run.layers)), dtype=bool)
    latest = pd.DataFrame(inputs).ffill().to_numpy()[np.isin(run.steps, steps)]
    return np.asarray(_of_next(run, latest) > _BOUNDED)


def _of_next(run: RunRecords, values: np.ndarray) -> np.ndarray:
    """Return for each layer the value of the next layer that has a value and is no normalisation; NaN for the last."""
    following = np.full(values.shape, np.nan)
    for places in run.networks():
        coming = np.full(len(values), np.nan)
        for place in places[::-1]:
            following[:, place] = coming
            if not is_normalisation(run.types[place]):
                coming = np.where(np.isnan(values[:, place]), coming, values[:, place])
    return following


FINDING = Finding(_KIND, {LAYERS: (_COLUMN, _GRADIENT, _DEAD, _INPUT)}, saturated_units)
