"""Finding "spectral explosion": the spectral norm of a layer grows by a large factor."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analysis.findings.causes.learning_rate import TOO_LARGE
from analysis.findings.causes.weights import GROWING, SET_ELSEWHERE
from analysis.findings.finding import NOTE, WARNING, Evidence, Finding
from analysis.findings.history import first_measured
from analysis.findings.run_records import RunRecords
from analysis.findings.thresholds import Thresholds
from probes.schema import LAYERS

_KIND, _COLUMN = "spectral explosion", "spectral_norm"
_FAR = 4.0  # times the threshold: a warning; over a long training a spectral norm may well grow tenfold
_AMONG_LAYERS = 2.0  # times the median layer at the start: a small initial weight may grow to the size of others


def spectral_explosion(run: RunRecords, limits: Thresholds) -> Iterator[Evidence]:
    """Yield the layers whose spectral norm has grown by a factor and stands out among layers; the number is the factor.

    A weight that starts at 0 has no factor.
    """
    if (records := run.take(_COLUMN)) is None:
        return
    norms = records[_COLUMN]
    first = first_measured(norms)
    first = np.where(first > 0, first, np.nan)
    usual = float(np.nanmedian(first)) if np.isfinite(first).any() else np.nan
    growth = norms / first
    large = (growth > limits.spectral_explosion) & (norms > _AMONG_LAYERS * usual) & np.isfinite(norms)
    far = large & (growth > _FAR * limits.spectral_explosion)
    for severity, where, level in (
        (WARNING, far, _FAR * limits.spectral_explosion),
        (NOTE, large & ~far, limits.spectral_explosion),
    ):
        yield Evidence(
            where,
            records.steps,
            run.layers,
            growth,
            level,
            _COLUMN,
            severity,
            "the spectral norm is {value:.3g} times its first value",
            (SET_ELSEWHERE, TOO_LARGE, GROWING),
            "lower the learning rate, add weight decay, or take spectral norm",
        )


FINDING = Finding(_KIND, {LAYERS: (_COLUMN,)}, spectral_explosion, fewest=2)
