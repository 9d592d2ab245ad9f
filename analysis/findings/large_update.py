"""Finding "large update": an optimizer step changes a large part of the weights."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analysis.findings.blow_up import LOSS, NONFINITE, blows_up_after
from analysis.findings.causes.learning_rate import GRADIENTS_GREW, LARGE_AT_ONCE
from analysis.findings.finding import WARNING, Evidence, Finding
from analysis.findings.history import lasting
from analysis.findings.run_records import RunRecords
from analysis.findings.thresholds import Thresholds
from analysis.findings.update_sizes import NORM, UPDATE, typical_updates
from probes.schema import LAYERS, STEPS

_RECORDS = 2  # in a row: the first step of an optimizer may be large
_WHOLE = 1.0  # an update as long as the weight: one record is enough where the network blows up before the next


def large_update(run: RunRecords, limits: Thresholds) -> Iterator[Evidence]:
    """Yield the layers with large updates at records where the median over layers is large too.

    The number is the layer's ``|W' - W| / |W|``. Two records in a row are needed. One is enough if its median update is
    longer than the weight and the network blows up before the next record, because sparse records show no second large
    update.
    """
    if (found := typical_updates(run)) is None:
        return
    records, typical = found
    sizes = records[UPDATE]
    above = typical > limits.large_update
    large = lasting(above, records=_RECORDS)
    large |= above & (typical > _WHOLE) & blows_up_after(run, records.steps, factor=limits.diverged)
    yield Evidence(
        large & np.isfinite(sizes) & (sizes > limits.large_update),
        records.steps,
        run.layers,
        sizes,
        limits.large_update,
        UPDATE,
        WARNING,
        "one step changes the weight by {value:.3g} times its norm; about 0.001 is usual",
        (LARGE_AT_ONCE, GRADIENTS_GREW),
        "lower the learning rate by a factor of 10 to 100",
    )


FINDING = Finding("large update", {LAYERS: (UPDATE, NORM, *NONFINITE), STEPS: (LOSS,)}, large_update, fewest=_RECORDS)
