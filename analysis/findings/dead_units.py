"""Finding "dead units": ReLU units that are 0 for every input and therefore do not learn."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analysis.findings.causes.learning_rate import TOO_LARGE
from analysis.findings.causes.signals import NEGATIVE_BIAS
from analysis.findings.causes.weights import SET_ELSEWHERE
from analysis.findings.finding import GRAVE, WARNING, Evidence, Finding
from analysis.findings.history import lasting
from analysis.findings.run_records import RunRecords
from analysis.findings.thresholds import Thresholds
from probes.schema import FEEDS, LAYERS

_KIND, _COLUMN, _SPARSITY, _NORM = "dead units", "dead_fraction", "grad_sparsity", "weight_l2_norm"
_RECORDS = 2  # in a row: in a small batch all entries of a channel may be negative by chance
_HALF = 0.5  # share of the dead channels that must show in the gradient


def dead_units(run: RunRecords, limits: Thresholds) -> Iterator[Evidence]:
    """Yield the layers with at least a share of dead channels; the number is the share.

    A channel is dead if no entry of the batch is above 0. If a ReLU follows, the weights of a dead channel have a
    gradient of exactly 0. A layer without such zeros is followed by something else and is left out. Three further kinds
    of layers are left out. Layers that the graph shows before no nonlinearity may get such zeros from dead units in
    front of them. In a network's outputs, a logit may be negative for every input. Channels of weights of zeros are 0
    without a ReLU. A layer that is dead as a whole is grave.
    """
    if (records := run.take(_COLUMN)) is None:
        return
    share = records[_COLUMN]
    dead = (share >= limits.dead) & ~run.of_network_outputs() & ~run.before_no_nonlinearity()
    if (sparsity := run.at(_SPARSITY, records.steps)) is not None:
        dead &= np.isnan(sparsity) | (sparsity >= _HALF * share)
    if (norms := run.at(_NORM, records.steps)) is not None:
        dead &= norms != 0
    lasts = lasting(dead, records=_RECORDS)
    whole = lasting(dead & (share == 1), records=_RECORDS)
    for severity, where in ((GRAVE, whole), (WARNING, lasts & ~whole)):
        yield Evidence(
            where,
            records.steps,
            run.layers,
            share,
            limits.dead,
            _COLUMN,
            severity,
            "{value:.0%} of the channels are dead: not positive for any input of the batch",
            (SET_ELSEWHERE, TOO_LARGE, NEGATIVE_BIAS),
            "lower the learning rate, normalise before the ReLU, or take LeakyReLU or GELU",
        )


FINDING = Finding(_KIND, {LAYERS: (_COLUMN, _SPARSITY, _NORM, FEEDS)}, dead_units, fewest=_RECORDS)
