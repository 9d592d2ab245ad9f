"""Finding "no gradient": a layer is run and has no gradient, because it is frozen or cut off from the loss."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analysis.findings.detached_layer import surely_detached
from analysis.findings.finding import WARNING, Evidence, Finding
from analysis.findings.gradient_flow import (
    IN_A_ROW,
    READS,
    REQUIRES_GRAD,
    decided,
    gradient_flow,
    silences,
    trained_layers,
)
from analysis.findings.run_records import RunRecords
from analysis.findings.thresholds import Thresholds
from probes.schema import LAYERS

_KIND, _COLUMN = "no gradient", "grad_l2_norm"
_DETACHED = "its output is detached from the loss (detach, no_grad, item, numpy)"


def no_gradient(run: RunRecords, limits: Thresholds) -> Iterator[Evidence]:  # noqa: ARG001
    """Yield the layers without a gradient that may be frozen or detached on purpose.

    These are the first layers of a network, whole branches, and all layers if the gradients that arrive at outputs are
    not recorded. Layers whose weight is recorded as frozen are left out. The number is the count of layers with a
    gradient at the record. A layer that was never trained is a note, unless an optimizer holds its weight.
    """
    if (flow := gradient_flow(run)) is None:
        return
    told = run.whole(REQUIRES_GRAD) is not None
    for severity, where, text in silences(flow):
        _, cut, unknown = decided(flow, where)
        undecided = (cut & ~surely_detached(run, flow, where)) | unknown
        meant = undecided & flow.meant[where.argmax(axis=0), np.arange(where.shape[1])]
        for gravity, mask in ((severity, undecided & ~meant), (WARNING, meant)):
            yield Evidence(
                mask,
                flow.steps,
                run.layers,
                trained_layers(flow),
                0.0,
                _COLUMN,
                gravity,
                text + _nearest_to_the_loss(run, mask),
                _DETACHED if told else f"requires_grad is False for it, and for all before it; or {_DETACHED}",
                "nothing if it is meant; else take out what cuts its output off"
                + ("" if told else ", or call requires_grad_(True)"),
            )


def _nearest_to_the_loss(run: RunRecords, where: np.ndarray) -> str:
    """Return which layer without a gradient is nearest to the loss, in words; empty if there is only one such layer."""
    if not where.any():
        return ""
    hit = np.flatnonzero(where[where.any(axis=1).argmax()])
    name = run.layers[hit[-1]].replace("{", "{{").replace("}", "}}")
    return f"; of those without, {name} is nearest to the loss" if len(hit) > 1 else ""


FINDING = Finding(_KIND, {LAYERS: READS}, no_gradient, fewest=IN_A_ROW)
