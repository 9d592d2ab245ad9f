"""Finding "drift": the mean weight of a layer moves far from its first recorded value."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analysis.findings.causes.inputs import OFF_CENTRE
from analysis.findings.causes.learning_rate import TOO_LARGE
from analysis.findings.causes.weights import SET_ELSEWHERE
from analysis.findings.finding import NOTE, WARNING, Evidence, Finding
from analysis.findings.history import first_measured
from analysis.findings.run_records import RunRecords
from analysis.findings.thresholds import Thresholds
from analysis.summaries.layer_choice import is_normalisation
from probes.schema import LAYERS

_KIND, _MEAN, _VARIANCE, _NORM = "drift", "weight_mean", "weight_var", "weight_l2_norm"
_FAR = 4.0  # times the threshold: a warning
_FEWEST = 64  # elements: the mean of fewer may by chance be large relative to their spread


def weight_drift(run: RunRecords, limits: Thresholds) -> Iterator[Evidence]:
    """Yield the layers whose weight mean has drifted by a multiple of the weights' standard deviation.

    The number is that multiple. Three kinds of layers are left out: normalisation layers, whose scales are all equal at
    first; weights that start without spread; and weights of few elements. The number of elements is
    ``|W|^2 / (var + mean^2)``.
    """
    if (records := run.take(_MEAN, _VARIANCE)) is None:
        return
    mean, variance = records[_MEAN], records[_VARIANCE]
    with np.errstate(divide="ignore", invalid="ignore"):
        deviations = np.abs(mean - first_measured(mean)) / np.sqrt(variance)
    kept = np.array([not is_normalisation(kind) for kind in run.types]) & (first_measured(variance) > 0)
    if (norms := run.at(_NORM, records.steps)) is not None:
        with np.errstate(divide="ignore", invalid="ignore"):
            elements = norms**2 / (variance + mean**2)
        kept = kept & ~(first_measured(elements) < _FEWEST)
    drifts = kept & np.isfinite(deviations) & (deviations > limits.drift)
    far = drifts & (deviations > _FAR * limits.drift)
    for severity, where, level in ((WARNING, far, _FAR * limits.drift), (NOTE, drifts & ~far, limits.drift)):
        yield Evidence(
            where,
            records.steps,
            run.layers,
            deviations,
            level,
            _MEAN,
            severity,
            "the mean weight has drifted by {value:.2f} standard deviations",
            (SET_ELSEWHERE, OFF_CENTRE, TOO_LARGE),
            "centre the inputs of the layer: batch norm, mean spectral norm, or inputs of mean 0",
        )


FINDING = Finding(_KIND, {LAYERS: (_MEAN, _VARIANCE, _NORM)}, weight_drift, fewest=2)
