"""Finding "weight collapse": a weight shrinks to almost nothing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analysis.findings.causes.weights import DECAYED, SET_ELSEWHERE
from analysis.findings.finding import WARNING, Evidence, Finding
from analysis.findings.history import largest_before
from analysis.findings.run_records import RunRecords
from analysis.findings.thresholds import Thresholds
from probes.schema import LAYERS

_KIND, _COLUMN = "weight collapse", "weight_l2_norm"
_RECENT = 5  # records


def weight_collapse(run: RunRecords, limits: Thresholds) -> Iterator[Evidence]:
    """Yield the layers whose weight norm is a small part of its largest so far, or of the norm five records before.

    The number is that part. A weight that decays within a few records settles at the norm at which gradient and decay
    balance. This norm may be above a hundredth of its largest norm.
    """
    if (records := run.take(_COLUMN)) is None:
        return
    norms, places = records[_COLUMN], np.arange(len(records.steps))
    before = largest_before(norms)
    small = (before > 0) & (norms < limits.weight_collapse * before)
    earlier = norms[np.maximum(places - _RECENT, 0)]
    with np.errstate(divide="ignore", invalid="ignore"):
        of_largest, of_earlier = norms / before, norms / earlier
    for where, parts, level, words in (
        (small, of_largest, limits.weight_collapse, "the largest it had"),
        ((of_earlier < limits.shrunk) & ~small, of_earlier, limits.shrunk, f"what it was {_RECENT} records before"),
    ):
        yield Evidence(
            where,
            records.steps,
            run.layers,
            parts,
            level,
            _COLUMN,
            WARNING,
            f"the norm of the weight is {{value:.2g}} of {words}",
            (DECAYED, SET_ELSEWHERE),
            "lower the weight decay; leave the scales of normalisation layers and biases out of it",
        )


FINDING = Finding(_KIND, {LAYERS: (_COLUMN,)}, weight_collapse, fewest=2)
