"""Finding "unused": a layer that the forward pass does not call."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analysis.findings.finding import NOTE, WARNING, Evidence, Finding
from analysis.findings.gradient_flow import READS, from_start, gradient_flow, later
from analysis.findings.history import ever
from analysis.findings.run_records import RunRecords
from analysis.findings.subtrees import beside_chosen, in_silent_subtree
from analysis.findings.thresholds import Thresholds
from probes.schema import LAYERS

_KIND, _COLUMN = "unused", "activation_mean"
_RECORDS = 5  # records that decide whether a layer is unused from the start


def unused_layer(run: RunRecords, limits: Thresholds) -> Iterator[Evidence]:  # noqa: ARG001
    """Yield the layers with a weight that have neither activation nor gradient in any training pass.

    The number is the count of layers that were run at the record. A whole branch is a note: a teacher or target network
    runs without gradients, which the probe does not count as training. Layers are a note too if some of their siblings
    are run at some records only, such as experts that a gate chooses.
    """
    if (flow := gradient_flow(run)) is None:
        return
    ran = np.broadcast_to(flow.active.sum(axis=1, keepdims=True).astype(float), flow.active.shape)
    chosen = beside_chosen(run.layers, flow.active[:_RECORDS])
    for where in (from_start(flow.unused, records=_RECORDS), later(flow.unused, flow.active)):
        meant = in_silent_subtree(run.layers, ever(where)) | chosen
        for severity, mask in ((WARNING, where & ~meant), (NOTE, where & meant)):
            yield Evidence(
                mask,
                flow.steps,
                run.layers,
                ran,
                0.0,
                _COLUMN,
                severity,
                "the layer is not run (layers that are: {value:.0f})",
                "forward does not call the module, or calls it under no_grad",
                "call it, or take it out of the model: its weights stay what they are",
            )


FINDING = Finding(_KIND, {LAYERS: READS}, unused_layer, fewest=_RECORDS)
