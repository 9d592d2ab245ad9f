"""Finding "frozen": a weight that requires no gradient, or gets none though one passes through its layer."""

from __future__ import annotations

from collections.abc import Iterator

from analysis.findings.finding import Evidence, Finding
from analysis.findings.gradient_flow import IN_A_ROW, READS, decided, gradient_flow, silences, trained_layers
from analysis.findings.run_records import RunRecords
from analysis.findings.thresholds import Thresholds
from probes.schema import LAYERS

_KIND, _COLUMN = "frozen", "grad_l2_norm"


def frozen_layer(run: RunRecords, limits: Thresholds) -> Iterator[Evidence]:  # noqa: ARG001
    """Yield the layers whose weight is frozen: it requires no gradient, or has none though one arrives at the output.

    A layer that was never trained is a note: fine-tuning and LoRA freeze on purpose. The number is the count of layers
    with a gradient at the record.
    """
    if (flow := gradient_flow(run)) is None:
        return
    for severity, where, text in silences(flow):
        frozen, _, _ = decided(flow, where)
        yield Evidence(
            frozen,
            flow.steps,
            run.layers,
            trained_layers(flow),
            0.0,
            _COLUMN,
            severity,
            text,
            "requires_grad is False for this weight",
            "nothing if it is meant; else requires_grad_(True), and a group of the optimizer for it",
        )


FINDING = Finding(_KIND, {LAYERS: READS}, frozen_layer, fewest=IN_A_ROW)
