"""The layers that take part in forward and backward: whether they run, have a gradient, are cut off from the loss."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from analysis.findings.finding import NOTE, WARNING
from analysis.findings.history import always_before, count_before, ever, lasting
from analysis.findings.run_records import RunRecords

WEIGHT, GRADIENT, ACTIVATION, ARRIVING = "weight_mean", "grad_nonfinite", "activation_nonfinite", "activation_grad_var"
REQUIRES_GRAD, GROUP = "requires_grad", "optimizer_group"
READS = (WEIGHT, "grad_l2_norm", GRADIENT, "activation_mean", ACTIVATION, ARRIVING, REQUIRES_GRAD, GROUP)
IN_A_ROW, _BEFORE = 3, 5  # records without a gradient or output, and records with one before them


@dataclass(frozen=True)
class Flow:
    """Which layers take part, at the records at which some layer has a gradient; all arrays ``(records, layers)``.

    Attributes:
        steps: The step of each record.
        gradient: Whether the weight has a gradient.
        active: Whether the module was run in a training pass; True everywhere where activations are not recorded.
        silent: Whether the layer has a weight and no gradient, though it was run.
        unused: Whether the layer has a weight and neither gradient nor activation.
        asked: At which records it is known whether a gradient arrives at outputs, ``(records, 1)``.
        arrives: Whether a gradient arrives at the output.
        frozen: Whether the weight is known to require no gradient; False everywhere in stores without
            ``requires_grad``.
        meant: Whether the weight is trained on purpose: it requires a gradient, and an optimizer holds it.
    """

    steps: np.ndarray
    gradient: np.ndarray
    active: np.ndarray
    silent: np.ndarray
    unused: np.ndarray
    asked: np.ndarray
    arrives: np.ndarray
    frozen: np.ndarray
    meant: np.ndarray


def gradient_flow(run: RunRecords) -> Flow | None:
    """Return which layers take part, or None where gradients or weights are not recorded.

    The columns read are counts of non-finite entries, because they tell a null (not measured) from a measured NaN.
    """
    weights, gradients = run.whole(WEIGHT), _measured(run, GRADIENT, "grad_l2_norm")
    if weights is None or gradients is None:
        return None
    outputs = _measured(run, ACTIVATION, "activation_mean")
    due = gradients.any(axis=1)
    if outputs is not None and outputs.any():
        due &= outputs.any(axis=1)
    if not due.any():
        return None
    has_weight = ever(~np.isnan(weights)) | ever(gradients)
    gradient = gradients[due]
    active, arrives = np.ones(gradient.shape, dtype=bool), np.zeros(gradient.shape, dtype=bool)
    if outputs is not None and outputs.any():
        owners = _owners(run, outputs)
        active = outputs[due] | outputs[due][:, owners]
        if (arriving := run.whole(ARRIVING)) is not None:
            arrives = ~np.isnan(arriving[due])
            arrives |= arrives[:, owners]
    missing = has_weight & ~gradient
    asked = np.asarray(arrives.any(axis=1, keepdims=True))
    frozen, meant = _said_by_weights(run, np.asarray(due))
    return Flow(run.steps[due], gradient, active, missing & active, missing & ~active, asked, arrives, frozen, meant)


def _said_by_weights(run: RunRecords, due: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    required, group = run.whole(REQUIRES_GRAD), run.whole(GROUP)
    nowhere = np.zeros((int(due.sum()), len(run.layers)), dtype=bool)
    frozen = nowhere if required is None else required[due] == 0
    meant = nowhere if required is None or group is None else (required[due] == 1) & ~np.isnan(group[due])
    return frozen, meant


def _measured(run: RunRecords, count: str, value: str) -> np.ndarray | None:
    for column in (count, value):
        if (matrix := run.whole(column)) is not None:
            return np.asarray(~np.isnan(matrix))
    return None


def _owners(run: RunRecords, outputs: np.ndarray) -> np.ndarray:
    """Return for each layer the index of its parent module, if the parent has outputs and the layer has none itself.

    A second weight of a module, such as ``lstm.weight_hh_l0``, is a row without outputs. Attention applies the weights
    of its ``out_proj`` itself. Every other layer is its own owner.
    """
    places = {name: place for place, name in enumerate(run.layers)}
    with_outputs = ever(outputs)
    owners = np.arange(len(run.layers))
    for name, place in places.items():
        parent = places.get(name.rpartition(".")[0])
        if parent is not None and not with_outputs[place] and with_outputs[parent]:
            owners[place] = parent
    return owners


def from_start(mask: np.ndarray, *, records: int = IN_A_ROW) -> np.ndarray:
    """Return where a mask has held at every record so far, for layers in which it held at the first few records."""
    holds = mask & always_before(mask)
    return holds & holds[:records].all(axis=0) & (len(mask) >= records)


def later(mask: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Return where a mask holds, a few records in a row, if another mask held at every record before them."""
    lasts = lasting(mask, records=IN_A_ROW)
    starts = lasts & always_before(before) & (count_before(before) >= _BEFORE)
    carried = np.zeros_like(lasts)
    for record in range(len(lasts)):
        carried[record] = lasts[record] & (starts[record] | (carried[record - 1] if record else False))
    return carried


def decided(flow: Flow, where: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Split records without a gradient by layer: the weight is frozen, no gradient arrives at the output, or unknown.

    A weight is frozen if it requires no gradient at the first of these records, or if a gradient arrives at its output
    at the first record that shows it. If the run never records gradients at outputs, the case is unknown. A layer is in
    none of the three cases until such a record has come.
    """
    layers = np.arange(where.shape[1])
    says_so = flow.frozen[where.argmax(axis=0), layers]
    known = where & flow.asked
    any_known = ever(known)
    arrives = flow.arrives[known.argmax(axis=0), layers]
    recorded = bool(flow.asked.any())
    frozen = says_so | (any_known & arrives)
    return where & frozen, where & ~frozen & any_known, where & ~frozen & (not recorded)


def silences(flow: Flow) -> Iterator[tuple[str, np.ndarray, str]]:
    """Yield the two kinds of layers that are run and have no gradient: severity, mask and words for the message."""
    never = "the weight has had no gradient so far (layers with a gradient: {value:.0f})"
    no_longer = "the weight had a gradient at every record before, and has none"
    yield NOTE, from_start(flow.silent), never
    yield WARNING, later(flow.silent, flow.gradient), no_longer


def trained_layers(flow: Flow) -> np.ndarray:
    """Return the number of layers with a gradient at each record, ``(records, layers)``: the same for all layers."""
    count = flow.gradient.sum(axis=1, keepdims=True).astype(float)
    return np.broadcast_to(count, flow.gradient.shape)
