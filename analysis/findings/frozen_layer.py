"""Finding "frozen": the gradient passes through a layer, and its weight gets none."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analysis.findings.finding import NOTE, WARNING, Evidence, Finding
from analysis.findings.gradient_flow import READS, decided, from_start, gradient_flow, later
from analysis.findings.run_records import RunRecords
from analysis.findings.thresholds import Thresholds
from probes.schema import LAYERS

_KIND, _COLUMN = "frozen", "grad_l2_norm"


def frozen_layer(run: RunRecords, limits: Thresholds) -> Iterator[Evidence]:  # noqa: ARG001
    """Yield the layers whose weight has no gradient though one arrives at their output.

    A layer that was never trained is a note: fine-tuning and LoRA freeze on purpose. The number is the count of layers
    with a gradient at the record.
    """
    if (flow := gradient_flow(run)) is None:
        return
    trained = np.broadcast_to(flow.gradient.sum(axis=1, keepdims=True).astype(float), flow.gradient.shape)
    for severity, where, text in (
        (NOTE, from_start(flow.silent), "the weight has had no gradient so far, {value:.0f} other layers have one"),
        (WARNING, later(flow.silent, flow.gradient), "the weight had a gradient at every record before, and has none"),
    ):
        passes, _, _ = decided(flow, where)
        yield Evidence(
            passes,
            flow.steps,
            run.layers,
            trained,
            0.0,
            _COLUMN,
            severity,
            text,
            "requires_grad is False for this weight",
            "nothing if it is meant; else requires_grad_(True), and a group of the optimizer for it",
        )


FINDING = Finding(_KIND, {LAYERS: READS}, frozen_layer)
