"""Finding "detached": a layer is run, and the loss does not depend on its output."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analysis.findings.finding import WARNING, Evidence, Finding
from analysis.findings.gradient_flow import IN_A_ROW, READS, Flow, decided, from_start, gradient_flow, later
from analysis.findings.history import ever
from analysis.findings.run_records import RunRecords
from analysis.findings.subtrees import in_silent_subtree
from analysis.findings.thresholds import Thresholds
from probes.schema import LAYERS

_KIND, _COLUMN = "detached", "activation_grad_var"


def detached_layer(run: RunRecords, limits: Thresholds) -> Iterator[Evidence]:  # noqa: ARG001
    """Yield the layers at whose output no gradient arrives, though an earlier layer of the network is trained.

    The number is the count of layers with a gradient at the record. A frozen layer behind a trained layer would pass
    the gradient on. Layers that may be frozen on purpose are left to finding "no gradient": the first layers of a
    network, and whole branches, such as a teacher or an encoder that is not fine-tuned.
    """
    if (flow := gradient_flow(run)) is None:
        return
    trained = np.broadcast_to(flow.gradient.sum(axis=1, keepdims=True).astype(float), flow.gradient.shape)
    for where in (from_start(flow.silent), later(flow.silent, flow.gradient)):
        yield Evidence(
            surely_detached(run, flow, where),
            flow.steps,
            run.layers,
            trained,
            0.0,
            _COLUMN,
            WARNING,
            "the layer runs in the forward pass, and no gradient arrives at its output (layers with one: {value:.0f})",
            "its output is detached (detach, no_grad, item, numpy, argmax) or not used by the loss",
            "follow the output to the loss, and take out what cuts it off; or do not compute it",
        )


def surely_detached(run: RunRecords, flow: Flow, where: np.ndarray) -> np.ndarray:
    """Return where silent layers are cut off and cannot be frozen: they follow a trained layer in a trained branch.

    Embeddings are left out, because no gradient could pass through the whole numbers that they read.
    """
    _, cut, _ = decided(flow, where)
    trained = np.logical_or.accumulate(flow.gradient & flow.arrives, axis=0)
    behind_trained = np.logical_or.accumulate(trained, axis=1)
    embeds = np.array([kind.startswith("Embedding") for kind in run.types])
    return np.asarray(cut & behind_trained & ~embeds & ~in_silent_subtree(run.layers, ever(where)))


FINDING = Finding(_KIND, {LAYERS: READS}, detached_layer, fewest=IN_A_ROW)
